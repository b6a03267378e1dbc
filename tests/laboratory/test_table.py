"""Tables of the laboratory fit a terminal of 100 columns, whatever is compared."""

import pytest

from pointseg.laboratory.table import align


@pytest.mark.parametrize(("num_columns", "num_kept", "num_tables"), [(4, 1, 1), (9, 1, 2), (15, 2, 4)])
def test_what_does_not_fit_goes_on_in_another_table(num_columns: int, num_kept: int, num_tables: int) -> None:
    """Every cell is there once, but for the first columns, which begin each table."""
    head = ["method", *(f"figure {index}" for index in range(1, num_columns))]
    rows = [
        [f"balanced_softmax+collapse{row}", *(f"{row}{index:02d} ± 0.1" for index in range(1, num_columns))]
        for row in range(3)
    ]
    lines = align([head, *rows], num_kept)
    assert max(map(len, lines)) <= 100
    tables = [table.split("\n") for table in "\n".join(lines).split("\n\n")]
    assert len(tables) == num_tables
    for row, cells in enumerate([head, *rows]):
        lines_of_row = [table[row if row == 0 else row + 1].strip("| ").split("|") for table in tables]
        shown = [[cell.strip() for cell in line] for line in lines_of_row]
        assert all(line[:num_kept] == cells[:num_kept] for line in shown)
        assert [cell for line in shown for cell in line[num_kept:]] == cells[num_kept:]


def test_a_column_that_is_wider_than_all_is_a_table_of_its_own() -> None:
    lines = align([["method", "a", "b"], ["x", "1" * 120, "2"]])
    assert [line for line in lines if "1" * 120 in line] and lines.count("") == 1
