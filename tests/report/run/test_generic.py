from langpose_dist.report.run.generic import generic_tables

INTERVAL = {"low": 0.4, "high": 0.6}


def test_every_value_of_a_report_is_in_a_table() -> None:
    report = {
        "temperature": 0.123456,
        "is_isolated": True,
        "none": None,
        "auc": {"mean": 0.5, **INTERVAL},
        "data": {"dataset": "made", "left_out": {}},
        "pairs": [{"a": "sit", "n": 2, "curve": {"x": [*range(20)]}}, {"a": "walk", "auc": 0.25}],
        "rows": [{"n": 1}, {"n": 2}],
        "references": {
            "chance": {"values": {"top": 0.1}},
            "best": {"values": {"top": {"value": 1, **INTERVAL}}},
        },
        "hash": "0123456789abcdef" * 4,
        "matrix": [[1, 2], [3, 4]],
        "deep": {"one": {"two": {"three": 3}}},
    }
    single = [["temperature", "0.1235"], ["is_isolated", "yes"], ["none", "-"], ["auc", "0.5 [0.4, 0.6]"]]
    single += [["hash", "0123456789abcdef"], ["matrix", "2 lists"]]
    found = [(table.title, table.head, table.rows) for table in generic_tables(report)]
    assert found == [
        ("", ["", "value"], single),
        ("data", ["", "value"], [["dataset", "made"]]),
        ("pairs", ["a", "n", "auc"], [["sit", "2", "-"], ["walk", "-", "0.25"]]),
        ("pairs: curve", ["", "x"], [["sit", "20 values, from 0 to 19"]]),
        ("rows", ["n"], [["1"], ["2"]]),
        ("references: values", ["", "top"], [["chance", "0.1"], ["best", "1 [0.4, 0.6]"]]),
        ("deep: one", ["", "three"], [["two", "3"]]),
    ]


def test_long_tables_are_folded() -> None:
    (table,) = generic_tables({"rows": {str(number): {"x": number} for number in range(31)}})
    assert table.is_folded
