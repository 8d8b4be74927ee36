"""Cells that a spreadsheet would run: made harmless when written, and read as they were."""

from __future__ import annotations

# What begins a formula. https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def harmless(cell: str) -> str:
    """A cell that no spreadsheet runs; a number stays a number.

    >>> harmless("=HYPERLINK(1)"), harmless("-12.5"), harmless("+1 piece")
    ("'=HYPERLINK(1)", '-12.5', "'+1 piece")
    """
    if not cell.startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def unharmed(cell: str) -> str:
    """What ``harmless`` was given.

    >>> unharmed("'=A1"), unharmed("'tis")
    ('=A1', "'tis")
    """
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell
