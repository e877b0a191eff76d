"""The calculations of the benchmark."""

from __future__ import annotations

from tests.benchmarks.bulk import report


def test_the_report_compares_medians_and_shows_the_spread():
    """On a machine that others use a round may be anything."""
    mine = [{"rows_per_second": rate, "cpu_ms_a_row": 0.4, "output_share": 0.02} for rate in (1000.0, 500.0, 900.0)]
    other = [{"rows_per_second": rate, "cpu_ms_a_row": 2.0} for rate in (200.0, 150.0, 100.0)]
    said = report({"ours": mine, "langchain-cerebras": other}, 64)
    assert (
        "6.0 times the rows a second (3.3 to 9.0 by rounds), a row at 1/5.0 of the CPU; the output costs 2.0% of it"
        in said
    )
    assert "      900 rows/s" in said
