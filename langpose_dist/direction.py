"""Which way a metric improves."""


def is_more_better(name: str) -> bool:
    """Whether more of a metric is better: of recall it is, of errors and ranks less.

    Args:
        name: Such as ``r_at_1`` or ``validation/masked/mpjpe_mm``.
    """
    return "r_at_" in name
