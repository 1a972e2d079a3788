"""The approvals example: what it says of itself is so."""

import pytest

from examples import approvals


@pytest.mark.slow
def test_each_expense_comes_to_its_end(tmp_path, capsys):
    """Paid at once, approved by the first, refused by the second, and refused since nobody answered."""
    found = approvals.main(tmp_path)
    said = capsys.readouterr().out

    assert found == [
        "Ada gets 12.50 at once",
        "Bo gets 500 from the house",
        "Cy gets nothing: it has wheels",
        "Dee gets nothing: nobody decided in time",
    ]
    assert "manager, until " in said
    assert "    Account (team/house, optional)\n" in said
    assert "Expected `bool`, got `str` - at `$.approved`" in said
