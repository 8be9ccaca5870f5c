"""The report of training runs, as a reader of the page finds it; and the page that watches them."""

import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gymformer import PPOConfig, train_agent
from gymformer.monitoring.learning_curve import analyse, common_threshold, spread
from gymformer.monitoring.log import MetricsLog, read_metrics
from gymformer.monitoring.report import RunRecord, explanations, find_runs, page, page_data, save_report
from gymformer.monitoring.samples import read_samples, write_samples
from gymformer.monitoring.trace import TokenTrace, TracedToken
from gymformer.monitoring.watch import watch
from gymformer.rl.segment import Segment
from gymformer.rl.transformers_nn import LMActorNetwork
from gymformer.testing import tiny_lm
from gymformer.trainer.records import outcomes_of, summary_of
from tests.language import TokenBandit
from tests.monitoring.browser import Pages, opened

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>{{DATA}}<!--"


def write_run(folder: Path, seed: int, updates: int = 12, text: str = "CartPole-v1", lr: float = 1e-3) -> Path:
    """A run's folder as training leaves one, with every kind of column."""
    folder.mkdir(parents=True)
    config = {
        "env": text,
        "seed": seed,
        "algorithm": "PPO",
        "config": {"lr_actor": lr, "value_clip": None},
        "versions": {"torch": "2.13.0"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    log, noise = MetricsLog(folder / "metrics.jsonl"), np.random.default_rng(seed)
    for i in range(1, updates + 1):
        level = 1 - np.exp(-i / updates * (2 + seed))
        log.write({
            "update": i, "timesteps": 500 * i, "episodes": 10 * i, "return_mean": 100 * level + noise.normal(),
            "length_mean": 50.0, "seconds": 2.0, "running_reward": 90 * level,
            "entropy": 0.7 - 0.5 * level, "approx_kl": 0.01 + 0.004 * noise.random(), "success": level,
            f"success/{text[:16]}": level, "success/knights": level / 2, f"task/{text[:16]}": 6, "task/knights": 4, "difficulty": level / 2,
            "difficulty/knights": level / 3, f"reward/{text[:16]}": level, "reward/brevity": -0.1 * level,
            "safety/privacy": int(5 * (1 - level)),
            f"safety/privacy/{text[:16]}": int(3 * (1 - level)), "returns": [1.0], "strange": float("nan"),
        })  # fmt: skip
    log.close()
    tokens = (
        TracedToken("What?", 1),
        *(TracedToken(char, i, 0, i, log_prob=-0.1 * i, advantage=0.2 * i - 1) for i, char in enumerate(text[:90])),
    )
    for update in (1, 2, 4, 8):
        write_samples(
            folder, update, [TokenTrace(tokens, title=text, episode_return=1.0, ended="terminated", info={text: text})]
        )
    return folder


def record(update: int, value: float | None) -> dict:
    return {"update": update, "episodes": 10 * update, "return_mean": value, "seconds": 2.0}


def test_the_learning_curve_in_numbers_by_hand():
    """Ten updates of ten episodes: 0, 2, 4, 6, 8, 8, 8, 8, 8, 8; a tenth is one update, so nothing is smoothed.

    x̄ = 55, ȳ = 6, Σ(x-x̄)² = 8250, Σ(x-x̄)(y-ȳ) = 270 + 140 + 50 + 0 - 10 + 10 + 30 + 50 + 70 + 90 = 700: 100 · 700 / 8250.
    Area by trapezoids of width 10: 10 + 30 + 50 + 70 + 5 · 80 = 560, over a width of 90."""
    curve = analyse([record(i + 1, y) for i, y in enumerate([0, 2, 4, 6, 8, 8, 8, 8, 8, 8])], threshold=5.0)
    assert curve is not None
    assert (curve.first, curve.last, curve.best, curve.best_update) == (0, 8, 8, 5)
    assert curve.slope == pytest.approx(100 * 700 / 8250)
    assert curve.late_slope == 0
    assert curve.area == pytest.approx(560 / 90)
    assert (curve.plateau, curve.reached, curve.reached_seconds) == (50, 40, 8.0)


def test_a_curve_that_still_rises_has_no_plateau_and_one_without_episodes_no_numbers():
    curve = analyse([record(i, float(i)) for i in range(1, 11)], threshold=100.0)
    assert curve is not None
    assert (curve.plateau, curve.reached, curve.reached_seconds) == (None, None, None)
    assert analyse([]) is None
    assert analyse([record(1, None)]) is None
    single = analyse([record(1, 3.0)])
    assert single is not None
    assert (single.area, single.slope) == (3.0, 0.0)


def test_threshold_and_spread_by_hand():
    """Curves from 0 to 10 and from 2 to 6: 0 + 0.9 · 10. Ends 10 and 6: mean 8, deviation √(2² + 2²) / √1."""
    runs = [[record(1, 0.0), record(2, 10.0)], [record(1, 2.0), record(2, 6.0)]]
    assert common_threshold(runs) == 9.0
    assert common_threshold([[record(1, None)]]) is None
    found = spread([curve for run in runs if (curve := analyse(run)) is not None])
    assert (found.runs, found.mean, found.least, found.most) == (2, 8.0, 6.0, 10.0)
    assert found.deviation == pytest.approx(8**0.5)


def ended(info: dict) -> Segment:
    return Segment(
        np.zeros((2, 1)), np.zeros(1), np.zeros(1), np.zeros(1), True, episode_return=1.0, episode_length=1, info=info
    )


def test_what_became_of_each_kind_of_task():
    segments = [ended({"task": "knights", "success": True, "difficulty": 0.5}), ended({"task": "knights", "success": np.float32(0.0)}),
                ended({"task": "zebra", "success": 0.5, "difficulty": np.float64(1.0)}), ended({"task": 3}),
                Segment(np.zeros((2, 1)), np.zeros(1), np.zeros(1), np.zeros(1), False, info={"success": 1.0})]  # fmt: skip
    assert summary_of(outcomes_of(segments)) == {
        "success": 0.5, "difficulty": 0.75, "task/knights": 2, "success/knights": 0.5, "difficulty/knights": 0.5,
        "task/zebra": 1, "success/zebra": 0.5, "difficulty/zebra": 1.0,
    }  # fmt: skip
    questions = outcomes_of(ended({"task": f"question {i}", "success": 1.0}) for i in range(33))
    assert summary_of(questions) == {"success": 1.0}
    assert summary_of([]) == {}


class Kinds(TokenBandit):
    """Which tells the kind of each task, and how far the goal was attained."""

    def step(self, action):
        observation, reward, *over, _ = super().step(action)
        return observation, reward, *over, {"task": "even" if action % 2 == 0 else "odd", "success": reward, "difficulty": 0.25}


def test_training_writes_what_the_report_shows(tmp_path):
    """Samples after updates 1, 2, 4 and the last; the best and the worst paid; with the reference and the update's ratios."""
    actor = LMActorNetwork(tiny_lm(4, width=16, layers=1, context=64))
    result = train_agent(Kinds, actor, max_episodes=80, update_interval=16, seed=0, save_path=tmp_path, progress=False, reference="initial",
                         kl_coef=0.1, ppo_config=PPOConfig(update_epochs=1))  # fmt: skip
    samples = read_samples(result.path)
    assert [update for update, _ in samples] == [1, 1, 2, 2, 4, 4, 5, 5]
    for (_, best), (_, worst) in zip(samples[::2], samples[1::2], strict=True):
        assert best.episode_return > worst.episode_return
        assert {"kl", "ratio", "value", "reward", "penalty"} <= {metric.name for metric in best.metrics}
    for record in read_metrics(result.path):
        assert record["task/even"] + record["task/odd"] == 16
        assert record["success"] == pytest.approx(record["return_mean"])
        assert record["success/even"] * record["task/even"] + record["success/odd"] * record["task/odd"] == pytest.approx(
            16 * record["success"]
        )
        assert record["difficulty"] == 0.25


def test_samples_of_forgotten_updates_go_and_numbers_survive(tmp_path):
    token = TracedToken("\ud800é\u2028", 3, 0, 0, log_prob=-1.2345678, ratio=float("inf"), value=0.5)
    trace = TokenTrace((TracedToken("<", 1), token), title="t", episode_return=2.0, ended="cut", info={"a": "b"})
    for update in (1, 2, 4):
        write_samples(tmp_path, update, [trace])
    write_samples(tmp_path, 2, [trace, trace])  # a resumed run comes here again
    samples = read_samples(tmp_path)
    assert [update for update, _ in samples] == [1, 2, 2]
    first = samples[0][1]
    assert first.tokens[1] == TracedToken("\ud800é\u2028", 3, 0, 0, log_prob=-1.2346, value=0.5)
    assert (first.title, first.episode_return, first.ended, first.info) == ("t", 2.0, "cut", {"a": "b"})
    (tmp_path / "samples.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"samples\.jsonl does not hold the samples of a run .*restore or delete it"):
        read_samples(tmp_path)


def test_runs_are_found_below_a_folder_and_a_folder_without_any_is_named(tmp_path):
    for name in ("a/1", "a/2", "b/1"):
        write_run(tmp_path / name, 0)
    assert find_runs([tmp_path]) == [tmp_path / name for name in ("a/1", "a/2", "b/1")]
    assert find_runs([tmp_path / "a/2", tmp_path / "a"]) == [tmp_path / "a/2", tmp_path / "a/1"]
    with pytest.raises(FileNotFoundError, match=r"nothing holds no run.*give the folder that training"):
        find_runs([tmp_path / "nothing"])


def test_names_tell_runs_apart_and_seeds_of_one_configuration_are_one_group(tmp_path):
    runs = [
        RunRecord.read(write_run(tmp_path / name, seed, lr=lr))
        for name, seed, lr in (("a", 0, 1e-3), ("b", 1, 1e-3), ("c", 0, 1e-2), ("d", 0, 1e-2))
    ]
    data = page_data(runs)
    assert [run["name"] for run in data["runs"]] == [
        "CartPole-v1 PPO seed 0 config.lr_actor=0.001", "CartPole-v1 PPO seed 1",
        "CartPole-v1 PPO seed 0 config.lr_actor=0.01 (c)", "CartPole-v1 PPO seed 0 config.lr_actor=0.01 (d)",
    ]  # fmt: skip
    assert [group["runs"] for group in data["spreads"]] == [2, 2]


def test_a_long_run_is_told_by_means_and_what_counts_by_sums(tmp_path):
    data = page_data([RunRecord.read(write_run(tmp_path / "run", 0, updates=1201))])["runs"][0]
    raw = read_metrics(tmp_path / "run")
    assert data["every"] == 3
    assert data["columns"]["update"][:2] == [3, 6]
    assert data["columns"]["task/knights"][0] == 12
    assert data["columns"]["entropy"][0] == pytest.approx(np.mean([r["entropy"] for r in raw[:3]]), rel=1e-5)
    assert data["totals"]["task/knights"] == 4 * 1201
    assert data["columns"]["wall time"][-1] == 2402


def test_every_column_of_a_run_is_explained(tmp_path):
    result = train_agent(
        "CartPole-v1", max_episodes=4, update_interval=2, eval_interval=2, eval_episodes=1, save_path=tmp_path, progress=False
    )
    data = page_data([RunRecord.read(result.path), RunRecord.read(write_run(tmp_path / "run", 0))])
    columns = {name for run in data["runs"] for name in run["columns"]} - {"strange", "wall time"}
    assert columns - set(data["explained"]) == set()
    assert explanations()["approx_kl"][1] == "below about 0.03; above 0.1 steps are too large"
    assert data["explained"]["reward/brevity"] == explanations()["reward/NAME"]


def test_a_run_that_has_only_begun_and_one_of_a_reward_model_are_shown_too(tmp_path):
    for name, lines in (("begun", ""), ("reward", '{"step": 5, "epoch": 0.5, "loss": 0.6, "accuracy": 0.7}\n')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text(lines)
    begun, reward = page_data([RunRecord.read(folder) for folder in find_runs([tmp_path])])["runs"]
    assert (begun["name"], begun["curve"], begun["updates"]) == ("begun", None, 0)
    assert (reward["name"], reward["columns"]["step"], reward["columns"]["accuracy"]) == ("reward", [5], [0.7])


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (
            "metrics.jsonl",
            '{"update": 1, "return_mean": 2.0}\n',
            "record 1: 'episodes' is None, but a learning curve needs a number",
        ),
        (
            "metrics.jsonl",
            '{"step": 3}\n{"update": 1, "episodes": 4, "return_mean": "high"}\n',
            "record 2: 'return_mean' is 'high'",
        ),
        ("metrics.jsonl", '{"seconds": "2 s"}\n', "record 1: 'seconds' is '2 s'"),
        ("config.json", "[]", "config.json holds a list, not the settings of a run"),
    ],
)
def test_files_that_others_have_written_are_told_by_name(tmp_path, file, text, said):
    folder = write_run(tmp_path / "run", seed=0)
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=re.escape(said)):
        save_report([folder], tmp_path / "report.html")


def test_the_log_of_another_program_is_shown_as_far_as_it_goes(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\n{"step": 2, "loss": 0.5}\n')
    (run,) = page_data([RunRecord.read(tmp_path)])["runs"]
    assert run["columns"]["loss"] == [None, 0.5] and run["curve"] is None


def test_the_page_holds_no_address_and_what_was_written_stays_text(tmp_path):
    text = page([RunRecord.read(write_run(tmp_path / "run", 0, text=HOSTILE))], title=HOSTILE)
    assert re.findall(r"<script[^>]*>", text) == ['<script type="application/json" id="data">', "<script>", "<script>"]
    assert "<img" not in text
    assert "connect-src &#x27;none&#x27;" in text
    assert set(re.findall(r"https?://[^\s\"'`)<]*", text)) == {"http://www.w3.org/2000/svg"}  # a name, which nothing loads


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    yield from opened()


def test_in_a_browser_charts_show_sorting_and_folding_work_and_nothing_is_fetched(pages, tmp_path):
    runs = [write_run(tmp_path / "a", 0, text=HOSTILE), write_run(tmp_path / "b", 1), write_run(tmp_path / "c", 2)]
    it = pages.open(save_report(runs, tmp_path / "report.html", title=HOSTILE))
    assert it.title() == HOSTILE
    pages.expect(it.locator("#result .plot svg .line")).to_have_count(4 * 3)
    for section, lines in (("learning", 2 * 3), ("tasks", 2 * 6), ("difficulty", 3 + 3), ("rewards", 6), ("safety", 6)):
        pages.expect(it.locator(f"#{section} .plot svg .line")).to_have_count(lines)
    assert it.locator("#episodes .gymformer-trace").count() == 3 * 4

    last = it.locator("#curves tbody tr td:nth-child(3)")
    it.locator("#curves th button").nth(2).click()
    down = [float(text) for text in last.all_inner_texts()]
    it.locator("#curves th button").nth(2).click()
    assert down == sorted(down, reverse=True) and [float(text) for text in last.all_inner_texts()] == down[::-1]
    assert len(set(down)) == 3
    assert it.locator("#curves th").nth(2).get_attribute("aria-sort") == "ascending"

    assert it.locator("#learning .fill").is_visible()
    it.locator("#learning > summary").click()
    assert not it.locator("#learning .fill").is_visible()
    it.locator("#fold").click()
    assert it.locator("details.section[open]").count() == 0
    it.locator("#fold").click()
    assert it.locator("#updates tbody tr").count() == 36

    it.locator("#runs input").nth(1).uncheck()
    pages.expect(it.locator("#result .plot svg .line")).to_have_count(4 * 2)
    assert it.locator("#curves tbody tr").count() == 2

    chart = it.locator("#result .plot svg").first
    chart.focus()
    it.keyboard.press("End")
    it.keyboard.press("ArrowLeft")
    assert "episodes 110" in it.locator("#tip").inner_text()

    assert it.evaluate("window.hacked") is None
    assert it.locator("img").count() == 0
    assert HOSTILE in it.locator("#curves").inner_text()
    assert pages.complaints == []
    assert pages.requests == [(tmp_path / "report.html").as_uri()]


def test_on_a_phone_nothing_is_wider_than_the_screen(pages, tmp_path):
    path = save_report([write_run(tmp_path / "a", 0, text=HOSTILE), write_run(tmp_path / "b", 1)], tmp_path / "report.html")
    it = pages.open(path, width=390)
    assert it.evaluate("document.documentElement.scrollWidth") == 390


def test_the_watched_page_shows_what_is_written_after_it_was_opened(pages, tmp_path):
    folder = write_run(tmp_path / "runs" / "a", 0, updates=3)
    with watch([tmp_path / "runs"]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        it = pages.open(f"http://127.0.0.1:{server.server_port}/")
        it.locator("#live.on").wait_for()
        assert "30" in it.locator(".card").inner_text()
        write_run(tmp_path / "runs" / "b", 1, text=HOSTILE)
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"update": 4, "episodes": 4321, "return_mean": 1.0}) + "\n")
        it.locator(".card dd", has_text="4,321").wait_for()
        assert it.locator(".card").count() == 2
        assert it.locator("#episodes .of-run").count() == 2
        assert it.evaluate("window.hacked") is None
        server.shutdown()
    assert pages.complaints == []


def test_the_watch_answers_this_machine_only_and_knows_two_addresses(tmp_path):
    write_run(tmp_path / "a", 0)
    with watch([tmp_path]) as server:
        assert server.server_address[0] == "127.0.0.1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"

        def status(path: str, **headers: str) -> int:
            try:
                return urllib.request.urlopen(urllib.request.Request(address + path, headers=headers)).status
            except urllib.error.HTTPError as error:
                return error.code

        assert [status("/"), status("/data.json"), status("/../config.json"), status("/", Host="evil.example")] == [
            200,
            200,
            404,
            403,
        ]
        with pytest.raises(OSError, match=r"cannot be used .*give another one, or 0"):
            watch([tmp_path], port=server.server_port)
        server.shutdown()
