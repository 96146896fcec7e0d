"""What a start says."""

import shlex
from pathlib import Path

from admin.announcements import curl, first_keys, missing_engines, places, unpriced
from admin.asking import Heard
from admin.first_run_file import FirstRun
from admin.probe import EngineSilent


def test_the_curl_line_survives_a_shell_whatever_the_model_is_called() -> None:
    words = shlex.split(curl("http://127.0.0.1:8080/v1", "sk-mg-x", "it's; rm -rf $HOME"))
    assert words[:3] == ["curl", "-N", "http://127.0.0.1:8080/v1/chat/completions"]
    assert """"model": "it's; rm -rf $HOME\"""" in words[-1]


def test_unpriced_models_are_one_line_however_many() -> None:
    line = unpriced({f"model-{number}" for number in range(9)}, refused=False)
    assert line is not None
    assert "\n" not in line
    assert "model-0, model-1, model-2 and 6 more are without a price: their calls are free" in line
    assert unpriced(set(), refused=False) is None
    assert "its calls are refused" in str(unpriced({"m"}, refused=True))


def test_only_what_runs_has_a_place() -> None:
    assert places(base_url=None, admin_url="http://a", metrics_url=None, keys=None) == [
        "  control plane  http://a (docs: http://a/docs)"
    ]


def test_without_an_engine_nobody_is_told_to_ask_for_a_model_called_model() -> None:
    """Guards against a line to paste that can only be answered with 404, said as if it worked."""
    made = FirstRun(
        "sk-mg-x", "sk-admin-x", "org-1", "proj_1", "http://127.0.0.1:8080/v1", "http://127.0.0.1:8081"
    )
    said = "\n".join(first_keys(made, Path("first-run.json"), None))
    assert "sk-mg-x" in said and "as soon as an engine answers" in said
    assert "MODEL" not in said and "curl" not in said and "Try it:" not in said
    known = "\n".join(first_keys(made, Path("first-run.json"), "tiny"))
    assert '"model": "tiny"' in known and "Try it:" in known


def test_what_becomes_of_calls_depends_on_the_other_engines() -> None:
    """Guards against a word of 503 where another engine serves."""
    silent = {"http://a": EngineSilent("does not answer (Connection refused)", "start it")}
    first, fate = missing_engines(Heard({}, silent))
    assert first == "warning: the engine http://a does not answer (Connection refused): start it"
    assert "503" in fate and "nothing has to be restarted" in fate
    _, fate = missing_engines(Heard({"http://b": ["tiny"]}, silent))
    assert "go to http://b alone" in fate and "503" not in fate
    (empty,) = missing_engines(Heard({"http://b": []}, {}))
    assert empty == "warning: the engine http://b answers and serves no model: load one"
    assert missing_engines(Heard({"http://b": ["tiny"]}, {})) == []
