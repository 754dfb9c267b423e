from langpose_dist.report.run.generic import generic_tables


def test_every_value_of_a_report_is_in_a_table() -> None:
    report = {
        "temperature": 0.123456,
        "is_isolated": True,
        "none": None,
        "data": {"dataset": "made"},
        "pairs": [{"a": "sit", "auc": 0.5, "curve": {"x": [*range(20)]}}, {"a": "walk", "n": 3}],
        "deep": {"one": {"two": {"three": 3}}},
    }
    found = [(table.title, table.head, table.rows) for table in generic_tables(report)]
    assert found == [
        ("", ["", "value"], [["temperature", "0.1235"], ["is_isolated", "yes"], ["none", "-"]]),
        ("data", ["", "value"], [["dataset", "made"]]),
        ("pairs", ["", "a", "auc", "n"], [["1", "sit", "0.5", "-"], ["2", "walk", "-", "3"]]),
        ("pairs: 1: curve", ["", "value"], [["x", "20 values, from 0 to 19"]]),
        ("deep: one", ["", "three"], [["two", "3"]]),
    ]


def test_long_tables_are_folded() -> None:
    (table,) = generic_tables({"rows": {str(number): {"x": number} for number in range(31)}})
    assert table.is_folded
