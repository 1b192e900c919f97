from __future__ import annotations

from engrain.mix.run import mix
from engrain.mix.settings import MixtureSettings
from engrain.progress import Silent


def test_smoke(synthetic, corpus, chatml, tmp_path, sequences):
    a = mix(
        synthetic(),
        corpus,
        MixtureSettings(replay=None),
        chatml,
        tmp_path / "m",
        share=1.0,
        sequence_length=128,
        seed=0,
        progress=Silent(),
    )
    print(a.counts)
    print((a.path / "composition.json").read_text()[:1500])
    from transformers import AutoTokenizer

    t = AutoTokenizer.from_pretrained(chatml)
    for r in sequences(a)[:2]:
        print(r["length"], r["texts"], r["starts"], t.decode(r["input_ids"]))
