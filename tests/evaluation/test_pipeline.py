"""EvaluationPipeline: any player in any environment, fair comparisons, and nothing that was played is lost."""

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from werkzeug import Response

from gymformer import LMActorNetwork, PPOConfig, train_agent
from gymformer.agents.backends import Backend
from gymformer.agents.settings import AgentSettings
from gymformer.env import CoTEnv, TextEnv
from gymformer.evaluation import Comparison, EpisodeRecord, EvaluationPipeline, EvaluationResults, load_results
from gymformer.evaluation import pipeline as pipeline_module
from gymformer.evaluation.metrics import bootstrap_interval, paired_interval, pass_at_k, wilson_interval
from gymformer.evaluation.results import Prices
from gymformer.rl.agent import language_agent
from gymformer.seeding import derive_seed
from gymformer.testing import byte_tokenizer, tiny_lm
from tests.agents.server import Script, agent_config, completion


class Parity(TextEnv):
    """A number: is it "even" or "odd"? Says nothing of a success but in "correct"; a third of the numbers are large."""

    def __init__(self, forgets_its_seed=False):
        super().__init__(max_turns=1)
        self.count, self.forgets_its_seed = 0, forgets_its_seed

    def opening(self, options):
        self.count += 1
        self.number = self.count if self.forgets_its_seed else int(self.np_random.integers(3, 100))
        self.correct = False
        return str(self.number)

    def answer(self, turn):
        self.correct = turn == ("odd" if self.number % 2 else "even")
        return "", float(self.correct), turn in ("odd", "even")

    def facts(self):
        return {"correct": self.correct, "task": "large" if self.number > 66 else "small"}


def parity_expert(observation):
    return "odd" if int(observation) % 2 else "even"


def parity_guesser(rng):
    return lambda observation: str(rng.choice(["odd", "even"]))


def without_seconds(results):
    return [{**record, "seconds": 0.0} for record in results.as_dict()["episodes"]]


# --- statistics, by hand ----------------------------------------------------------------------------------------------


def test_wilsons_interval_by_hand():
    """p = 8/10, z = 1.95996: (0.8 + 0.192073 ± 1.95996 √(0.016 + 0.00960365)) / 1.384146 = (0.992073 ± 0.313615) / 1.384146."""
    assert wilson_interval(0.8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-6)


def test_pass_at_k_by_hand():
    """5 samples, 2 right: pass@2 = 1 - C(3,2)/C(5,2) = 1 - 3/10; pass@4: four of five always hold a right one."""
    assert pass_at_k(5, 2, 1) == pytest.approx(0.4)
    assert pass_at_k(5, 2, 2) == pytest.approx(0.7)
    assert pass_at_k(5, 2, 4) == 1.0
    assert pass_at_k(5, 0, 5) == 0.0
    with pytest.raises(ValueError, match="pass@6 of 5"):
        pass_at_k(5, 2, 6)


def test_paired_intervals_are_narrow_where_seeds_are_hard_for_all():
    """Rewards of 0 to 100 by the seed, one player 1 or 3 better. Differences 1 and 3 in halves, N = 40: mean 2, standard error
    1/√40 = 0.158, interval 2 ± 1.96 · 0.158 = 2 ± 0.31. Unpaired it would be 2 ± 1.96 · √(2 · 29.6²/40) = 2 ± 13."""
    seeds = np.linspace(0, 100, 40)
    better = seeds + np.tile([1.0, 3.0], 20)
    low, high = paired_interval(better.tolist(), seeds.tolist())
    assert (low, high) == pytest.approx((1.69, 2.31), abs=0.06)
    assert bootstrap_interval(better.tolist())[0] < bootstrap_interval(seeds.tolist())[1]  # apart they say nothing
    with pytest.raises(ValueError, match="do not make pairs"):
        paired_interval([1.0], [])


def record(episode, sample, success, reward, **facts):
    known = {
        "words": 4,
        "tokens_read": 1000,
        "tokens_written": 500,
        "seconds": 2.0,
        "difficulty": episode / 10,
        "task": "ab"[episode % 2],
    }
    return EpisodeRecord("p", episode, sample, 7, "x", reward, success, success == 1, 3, **(known | facts))


def test_statistics_by_hand():
    """Two seeds of two samples, right (1, 0) and (1, 1): rates 1/2 and 1, mean 3/4 with two seeds as the cases."""
    records = [record(0, 0, 1.0, 10), record(0, 1, 0.0, 0), record(1, 0, 1.0, 10), record(1, 1, 1.0, 20)]
    results = EvaluationResults("E-v0", "p", records, {"env": "E-v0"}, prices=Prices(3.0, 15.0))
    assert results.success_rate == (0.75, *wilson_interval(0.75, 2))
    assert results.mean_reward == (10.0, 5.0, 15.0)  # of 5 and 15; a quarter of the resamples has both the same
    assert results.pass_at(1).value == 0.75 and results.pass_at(2).value == 1.0
    assert results.statistics["pass@2"] == (1.0, 1.0, 1.0)
    assert results.statistics["words"].value == 4
    assert results.progression["success"] == pytest.approx([1, 1 / 2, 2 / 3, 3 / 4])
    assert results.progression["difficulty"] == [0.0, 0.0, 0.1, 0.1]
    assert results.cost == {"tokens_read": 4000, "tokens_written": 2000, "seconds": 8.0, "dollars": pytest.approx(0.042)}
    assert results.tasks["a"]["reward"].value == 5.0 and results.tasks["b"]["episodes"] == 2


def test_a_seed_that_was_interrupted_among_its_samples_does_not_spoil_the_others():
    """Three samples of one seed, one right: pass@2 = 1 - C(2,2)/C(3,2) = 2/3. Of the other seed one was played, and says of pass@1 alone."""
    records = [record(0, 0, 1.0, 1), record(0, 1, 0.0, 0), record(0, 2, 0.0, 0), record(1, 0, 1.0, 1)]
    results = EvaluationResults("E-v0", "p", records, {"env": "E-v0"})
    assert results.statistics["pass@2"].value == pytest.approx(2 / 3) and "pass@3" in str(results)
    assert results.pass_at(1).value == pytest.approx((1 / 3 + 1) / 2)
    with pytest.raises(ValueError, match="no seed was played 4 times"):
        results.pass_at(4)


def test_what_nobody_told_is_none_and_never_zero():
    results = EvaluationResults(
        "E-v0", "p", [record(0, 0, None, 1.0, words=None, tokens_read=None, task=None)], {}, prices=Prices(1.0, 1.0)
    )
    assert results.success_rate is None and results.statistics["words"] is None and results.cost["dollars"] is None
    assert "success" not in results.progression and "success rate" not in results.markdown() and results.tasks == {}
    with pytest.raises(ValueError, match="does not tell what a success is"):
        results.pass_at(1)


# --- players ----------------------------------------------------------------------------------------------------------


def test_the_baseline_is_the_environments_guesser_and_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = EvaluationPipeline(Parity).evaluate(num_episodes=10)
    assert "Parity is played by its own guesser" in capsys.readouterr().err
    assert 0 < results.success_rate.value < 1 and results.completion_rate.value == 1
    assert results.tasks.keys() == {"large", "small"}
    assert results.path == Path("logs/Parity-random-001.json")
    assert json.loads(results.path.read_text()) == json.loads(json.dumps(results.as_dict()))
    EvaluationPipeline("CartPole-v1").evaluate(2)
    assert "CartPole-v1 is played by random actions" in capsys.readouterr().err


def test_one_seed_gives_the_same_results_and_another_others(tmp_path):
    pipeline = EvaluationPipeline("CartPole-v1", tmp_path, agent="random")
    first = pipeline.evaluate(5, seed=3)
    assert without_seconds(first) == without_seconds(pipeline.evaluate(5, seed=3))
    assert first.rewards != pipeline.evaluate(5, seed=4).rewards
    assert len(list(tmp_path.iterdir())) == 3  # no file was overwritten, and no journal is left


def test_functions_of_every_kind_play(tmp_path):
    class Alternating:
        def __init__(self):
            self.turn = 0

        def __call__(self, observation):
            self.turn += 1
            return parity_expert(observation) if self.turn == 1 else 1 / 0

    for agent in (parity_expert, Alternating, lambda observation, info: parity_expert(observation), "expert"):
        assert EvaluationPipeline(Parity(), tmp_path, agent=agent).evaluate(4).success_rate.value == 1
    with pytest.raises(TypeError, match="a int cannot play"):
        EvaluationPipeline(Parity(), tmp_path, agent=3)
    with pytest.raises(ValueError, match="brings no expert"):
        EvaluationPipeline("CartPole-v1", tmp_path, agent="expert").evaluate(1)


def test_a_trained_agent_and_its_folder_play_alike_and_its_run_is_drawn(tmp_path):
    config = PPOConfig(update_epochs=1)
    trained = train_agent("CartPole-v1", ppo_config=config, max_episodes=4, seed=0, save_path=tmp_path / "runs", progress=False)
    both = [EvaluationPipeline("CartPole-v1", tmp_path, agent=agent).evaluate(3, seed=1) for agent in (trained, trained.path)]
    assert both[0].rewards == both[1].rewards and both[0].records[0].steps == both[0].rewards[0]
    assert both[0].success_rate.value == np.mean([reward >= 475 for reward in both[0].rewards])
    for agent in (trained, trained.path):
        chart = EvaluationPipeline("CartPole-v1", tmp_path, agent=agent).plot_learning_curve(tmp_path / "deep" / "curve.png")
        assert len(chart.axes[0].lines[0].get_ydata()) == 4  # the episodes of training
    assert (tmp_path / "deep" / "curve.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="choose the one of training"):
        EvaluationPipeline("Pendulum-v1", tmp_path, agent=trained).evaluate(1)


def test_a_language_model_plays_tokens_and_texts_on_everybodys_seeds(tmp_path):
    actor = LMActorNetwork("models/reasoner")
    results = EvaluationPipeline("CoTEnv-v0", tmp_path, agent=actor).evaluate(4, samples=3, seed=2)
    assert len(results.records) == 12 and results.statistics["pass@3"].value >= results.statistics["pass@1"].value
    assert results.cost["tokens_written"] == sum(one.steps for one in results.records)
    comparison = EvaluationPipeline(Parity, tmp_path).compare({"expert": "expert", "model": language_agent(actor)}, 3)
    assert isinstance(comparison, Comparison) and comparison.results["model"].records[0].tokens_written > 0
    assert [one.opening for one in comparison.results["model"].records] == [
        one.opening for one in comparison.results["expert"].records
    ]


def test_who_is_cut_within_a_turn_has_attained_what_was_told_last(tmp_path):
    """A turn has up to 128 tokens, so that the cut after 20 falls into the first."""
    actor = LMActorNetwork(tiny_lm(261, width=8, layers=1, context=512), tokenizer=byte_tokenizer())
    options = {"difficulty": 0.0}
    results = EvaluationPipeline("LogicPuzzle-v0", tmp_path, agent=actor, max_timesteps=20, options=options).evaluate(2)
    assert [(r.success, r.task, r.completed, r.steps) for r in results.records] == [(0.0, "templates", False, 0)] * 2
    assert results.player == "model" and results.success_rate is not None and results.success_rate.value == 0.0


def test_a_model_behind_http_answers_in_turns_and_its_tokens_are_counted(tmp_path, httpserver):
    def reply(request):
        asked = request["messages"][-1]["content"]
        said = f"<think> let me see </think> {parity_expert(asked)}" if asked.isdigit() else "Action: 0"
        usage = {"usage": {"prompt_tokens": 11, "completion_tokens": 5}}
        return Response(json.dumps(completion(said) | usage), content_type="application/json")

    script = Script(httpserver, reply)
    backend = Backend(AgentSettings(**agent_config(httpserver, api_key_env="")))
    results = EvaluationPipeline(Parity, tmp_path, agent=backend, prices=(1.0, 2.0)).evaluate(3)
    assert results.success_rate.value == 1 and results.statistics["words"].value == 6
    assert results.cost["tokens_read"] == 33 and results.cost["dollars"] == pytest.approx((33 + 2 * 15) / 1e6)
    assert script.requests[0]["seed"] != script.requests[1]["seed"]
    assert len(script.requests[1]["messages"]) == 1  # nothing of another episode
    assert EvaluationPipeline("CartPole-v1", tmp_path, agent=backend, max_timesteps=3).evaluate(1).rewards == [3.0]
    assert "one of: 0, 1" in script.requests[-1]["messages"][0]["content"]  # it was put into words


def test_a_model_behind_http_answers_in_an_environment_of_tokens(tmp_path, httpserver):
    def reply(request):
        (message,) = request["messages"]
        numbers = message["content"].removeprefix("What is ").removesuffix("?").split()
        total = sum(
            int(number) * (-1 if sign == "-" else 1) for sign, number in zip(["+", *numbers[1::2]], numbers[::2], strict=True)
        )
        return f"<think> I add </think><final_answer>{total if len(script.requests) % 2 else total + 1}</final_answer>"

    script = Script(httpserver, reply)
    backend = Backend(AgentSettings(**agent_config(httpserver, api_key_env="")))
    results = EvaluationPipeline("CoTEnv-v0", tmp_path, agent=backend).evaluate(6)
    assert [record.success for record in results.records] == [1, 0] * 3 and len(script.requests) == 6
    assert all(record.completed for record in results.records)


# --- fairness ---------------------------------------------------------------------------------------------------------


def test_a_comparison_asks_all_the_same_and_pairs(tmp_path):
    comparison = EvaluationPipeline(Parity, tmp_path).compare({"expert": "expert", "random": "random"}, 12, samples=2)
    difference = comparison.differences["random"]["success_rate"]
    random = comparison.results["random"]
    assert difference.value == pytest.approx(random.success_rate.value - 1) and difference.high < 0
    assert random.records[0].seed == derive_seed(derive_seed(0, "episodes"), "episode", 0)
    assert "less expert, seed by seed" in comparison.markdown()
    assert json.loads(comparison.path.read_text())["differences"]["random"]["success_rate"] == list(difference)
    assert len(comparison.plot().axes[0].lines) == 4


def test_who_is_asked_something_else_is_not_compared(tmp_path):
    with pytest.raises(ValueError, match="began differently for b than for a") as error:
        EvaluationPipeline(Parity(forgets_its_seed=True), tmp_path).compare({"a": "expert", "b": "expert"}, 3)
    assert "3 of 6 episodes are kept" in error.value.__notes__[0]


def test_difficulty_follows_success_alone_and_is_constant_in_comparisons(tmp_path, capsys):
    pipeline = EvaluationPipeline("LogicPuzzle-v0", tmp_path, agent="expert")
    difficulties = [one.difficulty for one in pipeline.evaluate(12).records]
    assert difficulties[0] == 0.0 and difficulties[-1] == pytest.approx(0.1)
    assert {one.difficulty for one in pipeline.compare({"expert": "expert"}, 1).results["expert"].records} == {0.0}
    players = pipeline.compare({"expert": "expert", "random": "random"}, 2).results
    assert {one.difficulty for results in players.values() for one in results.records} == {0.5}
    assert "every episode has difficulty 0.5" in capsys.readouterr().err


# --- what is kept -----------------------------------------------------------------------------------------------------


class Fails:
    """The expert, until it has played `after` turns."""

    def __init__(self, after):
        self.left = after

    def __call__(self, observation):
        self.left -= 1
        if self.left < 0:
            raise ConnectionError("the line is dead")
        return parity_expert(observation)


def test_what_was_played_before_a_failure_is_kept_and_gone_on_from(tmp_path):
    players = {"random": "random", "other": Fails(after=2)}
    pipeline = EvaluationPipeline(Parity, tmp_path)
    with pytest.raises(ConnectionError) as error:
        pipeline.compare(players, 4)
    (journal,) = tmp_path.glob("*.jsonl")
    assert f"6 of 8 episodes are kept in {journal}" in error.value.__notes__[0]
    kept = load_results(journal)
    assert len(kept["random"].records) == 4 and len(kept["other"].records) == 2
    with journal.open("a") as file:
        file.write('{"player": "other", "epi')  # as a kill leaves it
    resumed = pipeline.compare({"random": "random", "other": "expert"}, 4, resume=True)
    whole = EvaluationPipeline(Parity, tmp_path).compare({"random": "random", "other": "expert"}, 4)
    assert without_seconds(resumed.results["other"]) == without_seconds(whole.results["other"])
    assert [one.seconds for one in resumed.results["random"].records] == [
        one.seconds for one in kept["random"].records
    ]  # not played again
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Parity-comparison-001.json", "Parity-comparison-002.json"]
    assert without_seconds(load_results(resumed.path)["other"]) == without_seconds(resumed.results["other"])
    with pytest.raises(FileNotFoundError, match="no evaluation with these settings was interrupted"):
        pipeline.compare(players, 4, resume=True)


class BreaksOnce(CoTEnv):
    """At the fourth question."""

    asked = 0

    def prompt(self, options):
        BreaksOnce.asked += 1
        if BreaksOnce.asked == 1 + 3:  # the first one is the pipeline's own
            raise OSError("the disk is full")
        return super().prompt(options)


def test_a_language_model_goes_on_where_its_last_episodes_side_by_side_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline_module, "AT_ONCE", 2)
    pipeline = EvaluationPipeline(BreaksOnce, tmp_path, agent=LMActorNetwork("models/reasoner"))
    with pytest.raises(OSError, match="the disk is full") as error:
        pipeline.evaluate(4)
    assert "2 of 4 episodes are kept" in error.value.__notes__[0]
    assert without_seconds(pipeline.evaluate(4, resume=True)) == without_seconds(pipeline.evaluate(4))


def test_episodes_of_one_agent_are_not_put_together_with_those_of_another(tmp_path, monkeypatch):
    """A folder's agent that was trained on between the interruption and the resuming is another player of the same name."""
    monkeypatch.setattr(pipeline_module, "AT_ONCE", 2)
    BreaksOnce.asked = 0
    actor = LMActorNetwork("models/reasoner")
    with pytest.raises(OSError, match="the disk is full"):
        EvaluationPipeline(BreaksOnce, tmp_path, agent=actor).evaluate(4)
    with torch.no_grad():
        actor.lm.transformer.ln_f.bias += 0.1
    with pytest.raises(FileNotFoundError, match=r"-001.jsonl differs in identities\)"):
        EvaluationPipeline(BreaksOnce, tmp_path, agent=actor).evaluate(4, resume=True)


def test_a_player_that_fails_at_once_leaves_nothing_behind(tmp_path):
    with pytest.raises(ConnectionError):
        EvaluationPipeline(Parity, tmp_path, agent=Fails(after=0)).evaluate(2)
    assert list(tmp_path.iterdir()) == []


def test_an_evaluation_whose_difficulty_has_a_past_does_not_go_on_without_it(tmp_path):
    left = 3

    def player(observation):
        nonlocal left
        left -= 1
        return "SOLVE yes" if left >= 0 else 1 / 0

    pipeline = EvaluationPipeline("LogicPuzzle-v0", tmp_path, agent=player)
    with pytest.raises(ZeroDivisionError) as error:
        pipeline.evaluate(5)
    assert "resume" not in error.value.__notes__[0] and "3 of 5 episodes are kept" in error.value.__notes__[0]
    with pytest.raises(ValueError, match="follows how its last episodes went"):
        pipeline.evaluate(5, resume=True)
    assert len(list(tmp_path.glob("*.jsonl"))) == 1


class Tells(gym.Env):
    """An episode of one step, whose info is given."""

    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)

    def __init__(self, **told):
        self.told = told

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 0, 1.0, True, False, self.told


def test_the_first_key_in_the_order_tells_the_success(tmp_path):
    told = {"solved": False, "correct": True, "is_success": None, "success": 0.25}
    success = []
    while told:
        success += [one.success for one in EvaluationPipeline(Tells(**told), tmp_path, agent="random").evaluate(1).records]
        told.popitem()
    assert success == [0.25, 1.0, 1.0, 0.0]
    assert EvaluationPipeline(Tells(), tmp_path, agent="random").evaluate(1).success_rate is None


@pytest.mark.parametrize("success", ["yes", 2, float("nan")])
def test_a_success_that_is_none_is_refused(tmp_path, success):
    with pytest.raises(ValueError, match=r"info\['success'\] is .*; a success is a number from 0 to 1"):
        EvaluationPipeline(Tells(success=success), tmp_path, agent="random").evaluate(1)


def test_nothing_to_draw_and_nothing_to_play_is_told(tmp_path):
    pipeline = EvaluationPipeline(Parity, tmp_path, agent="expert")
    with pytest.raises(RuntimeError, match="call evaluate"):
        pipeline.plot_learning_curve(tmp_path / "x.png")
    with pytest.raises(ValueError, match="num_episodes=0"):
        pipeline.evaluate(0)
    pipeline.evaluate(3)
    chart = pipeline.plot_learning_curve(tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_bytes().startswith(b"<?xml") and len(chart.axes) == 2  # rewards, success
