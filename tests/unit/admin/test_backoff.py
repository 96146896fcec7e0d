"""How the supervisor paces restarts and names exit statuses."""

from admin.child import BACKOFF_SECONDS_MAX, backoff_seconds, describe_status


def test_the_first_restart_is_at_once_and_later_ones_double_up_to_the_bound() -> None:
    assert [backoff_seconds(failures) for failures in range(6)] == [0, 0, 0.5, 1, 2, 4]
    assert backoff_seconds(10_000) == BACKOFF_SECONDS_MAX


def test_an_exit_status_is_told_in_words() -> None:
    assert describe_status(3) == "exit status 3"
    assert describe_status(-9) == "killed by SIGKILL"
    assert describe_status(-99) == "killed by signal 99"
