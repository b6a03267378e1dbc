"""JSON for people: numbers on one line, and every text as it is."""

import json

from pointseg.output.json_text import format_json


def test_a_list_of_numbers_is_a_line_and_a_text_is_what_it_was() -> None:
    results = {
        "matrix": [[1, -2], [3.5, 1e-9]],
        "names": ["bay [1,  2]", 'a "quoted [3,\n 4]', "\\"],
        "[1,  2]": [],
        "[": [5],
    }
    text = format_json(results)
    assert json.loads(text) == results
    assert "[ 1, -2 ],\n" in text
    assert "[ 3.5, 1e-09 ]\n" in text
