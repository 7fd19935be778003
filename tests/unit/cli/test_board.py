"""The one line of progress, by a clock that is set by hand."""

from __future__ import annotations

from datetime import UTC, datetime

from entrepot.cli.board import Board, Kept
from entrepot.cli.formats import cells
from entrepot.client.types import Phase, Progress

GB = 10**9
END = datetime(2030, 1, 1, tzinfo=UTC)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_line_tells_phase_bytes_share_rate_time_and_files():
    clock = Clock()
    board = Board([4 * GB, 1 * GB], clock)
    assert board.line() == "waiting for the server  0.0 of 5.0 GB  0 %  0 of 2 files"
    board.note(0, Progress(Phase.SENDING, GB, 4 * GB))
    clock.now = 5.0
    assert board.line() == "sending  1.0 of 5.0 GB  20 %  200.0 MB/s  0:20 left  0 of 2 files"
    board.note(1, Progress(Phase.PUBLISHING, GB, GB))
    board.over(1, GB)
    assert "2.0 of 5.0 GB" in board.line() and "1 of 2 files" in board.line()


def test_what_was_there_before_counts_as_done_but_not_for_the_rate():
    clock = Clock()
    board = Board([4 * GB], clock)
    board.note(0, Progress(Phase.SENDING, 3 * GB, 4 * GB, 2 * GB, 2 * GB))
    clock.now = 10.0
    assert board.line() == "sending  3.0 of 4.0 GB  75 %  100.0 MB/s  0:10 left"


def test_what_comes_is_counted_as_what_goes():
    clock = Clock()
    board = Board([4 * GB], clock)
    board.note(0, Progress(Phase.RECEIVING, 3 * GB, 4 * GB, 2 * GB, 2 * GB))
    clock.now = 10.0
    assert board.line() == "receiving  3.0 of 4.0 GB  75 %  100.0 MB/s  0:10 left"


def test_n5_the_line_names_the_file_as_far_as_there_is_room():
    board = Board([4 * GB, GB], Clock(), ["renders/a long name.png", "日本語日本語日本語.png"])
    board.note(1, Progress(Phase.SENDING, GB, GB))
    assert board.line().endswith("0 of 2 files  日本語日本語日本語.png")
    for width in range(1, 100):
        assert cells(board.line(width)) <= width
    assert board.line(57).endswith("  ...日本語.png") and board.line(50).endswith("2 files")
    board.note(0, Progress(Phase.SENDING, 0, 4 * GB))
    assert board.line(99).endswith("  renders/a long name.png")


def test_n5_what_is_waited_for_in_the_end_is_said_without_a_rate():
    clock = Clock()
    for far, said in (("the server", "  waiting for the server"), ("", "")):
        board = Board([GB], clock, far=far)
        board.note(0, Progress(Phase.SENDING, GB // 2, GB))
        clock.now += 5.0
        assert "/s" in board.line()
        for phase in (Phase.VERIFYING, Phase.PUBLISHING):
            board.note(0, Progress(phase, GB, GB))
            assert board.line() == f"{phase.value}  1.0 of 1.0 GB  100 %{said}"


def test_hashing_is_not_sending():
    board = Board([GB, GB], Clock())
    board.note(0, Progress(Phase.HASHING, GB // 2, GB))
    assert board.line().startswith("hashing  0.5 of 2.0 GB")
    board.note(1, Progress(Phase.SENDING, 0, GB))
    assert board.line().startswith("sending  0.0 of 2.0 GB")


def test_a_server_that_is_waited_for_is_said_to_be():
    board = Board([GB], Clock())
    board.note(0, Progress(Phase.HASHING, GB, GB))
    assert board.line().startswith("waiting for the server")


def test_a_stream_has_no_share():
    board = Board([None], Clock())
    board.note(0, Progress(Phase.SENDING, GB, None))
    assert board.line() == "sending  1.0 GB"


def test_what_failed_is_not_waited_for():
    board = Board([3 * GB, GB], Clock())
    board.over(0, None)
    board.note(0, Progress(Phase.SENDING, GB, 3 * GB))  # a thread that has not heard of it
    board.over(1, GB)
    assert "1.0 of 1.0 GB  100 %" in board.line()


def test_n5_what_may_have_arrived_unheard_is_not_said_to_be_lost():
    board = Board([4 * GB, GB], Clock())
    assert board.kept(lambda _: True) == Kept(0, 0, None)
    board.note(0, Progress(Phase.SENDING, 2 * GB, 4 * GB, 0, 0, END))
    board.note(1, Progress(Phase.VERIFYING, GB, GB))
    assert board.kept(lambda _: True) == Kept(0, 0, END, begun=True, whole=True)


def test_what_does_not_fit_is_left_out():
    clock = Clock()
    board = Board([4 * GB, GB], clock)
    board.note(0, Progress(Phase.SENDING, GB, 4 * GB))
    clock.now = 5.0
    assert all(len(board.line(width)) <= width for width in range(1, 80))
    assert board.line(24) == "sending  1.0 of 5.0 GB"


def test_what_is_kept_is_that_of_uploads_under_way_until_the_first_ends():
    board = Board([4 * GB, GB, None], Clock())
    board.note(0, Progress(Phase.SENDING, 2 * GB, 4 * GB, GB, 0, END))
    board.note(1, Progress(Phase.SENDING, GB // 2, GB))
    board.note(2, Progress(Phase.SENDING, GB, None, GB))
    kept = board.kept(lambda number: number != 2)
    assert (kept.safe, kept.total, kept.until) == (GB, 4 * GB, END)
