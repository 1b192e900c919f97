"""From attempts to findings: accuracy with its interval, paired comparisons, the verdict."""
