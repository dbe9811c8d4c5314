# SPDX-License-Identifier: Apache-2.0
"""What several samples of a figure amount to, and how numbers are printed."""

WIDE_SPREAD = 0.25  # of the median: another run may well say something else


def median(values):
    return sorted(values)[len(values) // 2]


def interquartile(values):
    """The middle half of the samples as a share of the median. None where the median is no base for a share."""
    ordered = sorted(values)
    count = len(ordered)
    middle = ordered[count // 2]
    return (ordered[count * 3 // 4] - ordered[count // 4]) / middle if middle > 0 else None


def number(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
