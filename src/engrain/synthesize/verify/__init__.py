"""What is not trained on, each with its reason: none is dropped silently.

Reasons of a whole reply: `empty`, `content_filter`, `refusal`, `truncated`, `unparsable`; of one
text, in the order in which they are looked for: `leak`, `coincidence`, `too_short`, `prompt_echo`,
`not_self_contained`, `answer_unexplained`, `wrong_language`, `source_copy`, `duplicate`,
`near_duplicate`, and what a method's parser adds.
"""

from engrain.synthesize.verify.replies import reply_fault, whole_text
from engrain.synthesize.verify.verifier import Verifier

__all__ = ["Verifier", "reply_fault", "whole_text"]
