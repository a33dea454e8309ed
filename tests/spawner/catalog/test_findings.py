from __future__ import annotations

from arcetri_spawner.catalog.findings import MAX_FINDINGS, Finding, in_order, show_path


def finding(line: int, column: int = 1, *, field: str = "", message: str = "is wrong") -> Finding:
    return Finding("p.yaml", line, column, "error", field, message)


def test_every_part_is_printed_in_one_line() -> None:
    one = Finding("p.yaml", 3, 7, "warning", "flavors.t4", "is odd", "gpu", "cpu")

    assert one.render() == (
        "p.yaml:3:7: warning: flavors.t4: is odd; allowed: gpu; did you mean cpu"
    )


def test_parts_that_are_not_there_are_left_out() -> None:
    assert finding(3, 7).render() == "p.yaml:3:7: error: is wrong"


def test_what_a_file_holds_cannot_begin_a_line_or_move_the_cursor() -> None:
    shown = finding(1, message="a\nb\x1b[2J\u2028c").render()

    assert shown.isprintable()
    assert shown.endswith("a\ufffdb\ufffd[2J\ufffdc")


def test_findings_come_in_the_order_of_the_file_and_once() -> None:
    found = in_order([finding(9), finding(2, 5), finding(2, 1), finding(9)])

    assert [(one.line, one.column) for one in found] == [(2, 1), (2, 5), (9, 1)]


def test_a_list_without_end_is_cut_and_says_so() -> None:
    found = in_order(finding(line) for line in range(1, MAX_FINDINGS + 51))

    assert len(found) == MAX_FINDINGS + 1
    assert found[-1].message.startswith("50 more findings")
    assert found[-1].severity == "error"


def test_paths_show_lists_with_their_position() -> None:
    assert show_path(("groups", "/a/b", "leads", 2)) == "groups./a/b.leads[2]"
