"""Cells that a spreadsheet would run: made harmless when written, and read as they were."""

from __future__ import annotations

# What begins a formula, in Chinese and Japanese spreadsheets in full width too.
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def harmless(cell: str) -> str:
    """A cell that no spreadsheet runs; a number stays a number.

    >>> harmless("=HYPERLINK(1)"), harmless("-12.5"), harmless("+1 piece")
    ("'=HYPERLINK(1)", '-12.5', "'+1 piece")
    """
    if not _is_formula(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _is_formula(cell: str) -> bool:
    """Whether a spreadsheet runs it, or it looks like one that was made harmless."""
    return cell.lstrip("'").startswith(_FORMULA)


def unharmed(cell: str) -> str:
    """What ``harmless`` was given.

    >>> unharmed("'=A1"), unharmed("'tis")
    ('=A1', "'tis")
    """
    return cell[1:] if cell.startswith("'") and _is_formula(cell) else cell
