"""The look that every picture shares."""

# A power of two: sizes in inches times DPI are then whole pixels, without rounding.
DPI = 128

PAPER = "#ffffff"
INK = "#1f2328"
FAINT = "#6b7280"
LINE = "#d0d4da"
