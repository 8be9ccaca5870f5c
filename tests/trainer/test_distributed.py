"""Several processes that train one agent: equal networks, exact gradients, and an end for all of them, whatever happens to one."""

import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from gymformer import PPO, LMActorNetwork, LMCriticNetwork, MLPActorNetwork, PPOConfig, evaluate, load_agent, train_agent
from gymformer.monitoring.log import read_metrics
from gymformer.rl.errors import NonFiniteError, portable
from gymformer.rl.spaces import RunningMoments
from gymformer.trainer import launch
from gymformer.trainer.distributed import Ranks, mean_statistics, rows_since
from tests.trainer.processes import LENGTHS, WHOLE, Deadly, Reckoner, Short, Witness, exercises, learned, networks

pytestmark = pytest.mark.skipif(os.name != "posix", reason="these tests fork processes and send signals")
ROOT = Path(__file__).parents[2]
QUIET = {"seed": 0, "progress": False, "num_processes": 2}


@pytest.fixture(scope="module", autouse=True)
def witnesses(tmp_path_factory):
    """Where the processes leave what they have seen. They are forked from one that has imported torch already: it takes
    seconds. Python's spawn, which users have, starts the processes of the script that Ctrl-C ends."""
    multiprocessing.set_forkserver_preload(["gymformer.trainer.launch", "gymformer.trainer.trainer", "tests.trainer.processes",
                                            "torch.distributed.elastic.multiprocessing.api"])  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "START_METHOD", "forkserver")
        patch.setenv("WITNESS", str(folder := tmp_path_factory.mktemp("witnesses")))
        yield folder


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> list[dict]:
    """What each of two processes found in `exercises`."""
    folder = tmp_path_factory.mktemp("exercises")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.start_processes(exercises, (port, str(folder)), nprocs=2, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def test_two_processes_learn_what_one_learns_from_both_their_data(two):
    vectors, _ = learned(LENGTHS, **WHOLE)
    for name, (parameters, _) in (("rank 0", two[0]["doubled"]), ("rank 1", two[1]["doubled"])):
        for mine, whole in zip(parameters, vectors, strict=True):
            torch.testing.assert_close(mine, whole, rtol=0, atol=2e-6, msg=name)
    alone, _ = learned(LENGTHS[:2], **WHOLE)
    assert (alone[0] - vectors[0]).abs().max() > 1e-3  # half of the data would have led elsewhere


@pytest.mark.parametrize("exercise", ["doubled", "uneven", "target"])
def test_networks_are_bit_equal_after_an_update(two, exercise):
    for mine, others in zip(two[0][exercise][0], two[1][exercise][0], strict=True):
        assert torch.equal(mine, others)


def test_processes_with_different_numbers_of_minibatches_take_the_same_steps(two):
    """100 decisions in parts of 16 are 7 steps an epoch; the other process has 10 decisions, one part."""
    assert [done["uneven"][1]["gradient_steps"] for done in two] == [14.0, 14.0]


def test_a_step_weighs_every_decision_of_all_processes_alike_and_repeated_ones_not_at_all(two):
    """4 of 8, then 2 of 6, then nothing; 4 of 8, 4 of 6, 1 of 1; a half each outside an epoch."""
    assert two[0]["weights"] == [(4, 4 / 8), (2, 2 / 6), (4, 0.0), (0, 1 / 2)]
    assert two[1]["weights"] == [(4, 4 / 8), (4, 4 / 6), (1, 1.0), (0, 1 / 2)]


def test_all_stop_at_the_same_step_when_their_common_kl_is_above_the_target(two):
    steps = [done["target"][1]["gradient_steps"] for done in two]
    assert steps[0] == steps[1] < 20 * 5
    assert two[0]["target"][1]["approx_kl"] != two[1]["target"][1]["approx_kl"]


def test_a_nan_in_one_process_stops_all_before_the_step(two):
    assert [done["poisoned"] for done in two] == [("gradient", True), ("loss", True)]


def test_shared_moments_are_those_of_all_rows(two):
    rows = np.concatenate([done["moments"][1] for done in two])
    for done in two:
        moments = done["moments"][0]
        assert moments.count == len(rows) == 60
        np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-12)
        np.testing.assert_allclose(moments.var, rows.var(0), rtol=1e-12)
    assert np.array_equal(two[0]["moments"][0].var, two[1]["moments"][0].var)


def test_networks_that_differ_are_noticed_and_can_be_made_equal(two):
    for first, second, copied in (done["networks"] for done in two):
        assert "the actor is not the same in all 2 processes" in first and "self.together.average" in first
        assert second == "" and copied


def test_what_the_first_process_makes_or_raises_all_get(two):
    for done in two:
        value, error = done["from_first"]
        assert value == 0
        assert error.startswith("FileNotFoundError") and "missing" in error


def test_ranks_know_of_each_other(two):
    for done in two:
        assert done["any"] == [True, True, False]
        assert [list(one) for one in done["differing"]] == [[], ["own"]]
        # Weights 1 and 3: the mean of 0 and 1 is 3/4.
        assert done["pooled"] == ([0.0, 1.0], [0, 1], 4, {"a": 0.75, "b": 0.1, "name": "x"})
        assert done["seeds"][1] == 3
        assert "num_processes=3, but this process was started as one of 2" in done["disagree"]
    assert two[0]["seeds"][0] == 7 != two[1]["seeds"][0]


def test_a_process_that_leaves_is_missed_at_once(two):
    assert "another process of this run cannot be reached" in two[0]["lost"]


def test_alone_nobody_is_asked():
    alone, stats = Ranks(), {"a": 1.0}
    assert alone.gather(3) == [3] and alone.from_first(lambda: 4) == 4 and alone.any(True) and not alone.any(False)
    assert alone.pooled([1.0], [2], 3, stats) == ([1.0], [2], 3, stats) and alone.seed(5) == 5 and alone.share(7) == 7


def test_the_mean_of_a_statistic_counts_decisions():
    """30 decisions with 1 and 10 with 5: (30 + 50) / 40 = 2. What only one process has is its own."""
    parts = [([], [], 30, {"a": 1.0, "same": 0.1}), ([], [], 10, {"a": 5.0, "same": 0.1, "only": 7.0})]
    assert mean_statistics(parts) == {"a": 2.0, "same": 0.1, "only": 7.0}


def test_rows_since_an_earlier_state_are_found_again():
    """1, 3 are followed by 2, 6: mean 4, variance 4."""
    moments = RunningMoments(())
    moments.update(np.array([1.0, 3.0]))
    before = moments.state()
    moments.update(np.array([2.0, 6.0]))
    mean, var, count = rows_since(before, moments.state())
    assert (float(mean), count) == (4.0, 2.0) and float(var) == pytest.approx(4.0)


def test_an_error_travels_with_what_it_carries_or_at_least_with_its_words():
    error = NonFiniteError("reward", "it is NaN", {"rewards": np.zeros(2)})
    error.add_note("saved there")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.what, str(copy), copy.__notes__, list(copy.evidence)) == ("reward", "it is NaN", ["saved there"], ["rewards"])
    assert portable(error) is error

    class Local(Exception):
        pass

    assert str(portable(Local("words"))) == "Local: words"


CARTPOLE = {
    "ppo_config": PPOConfig(lr_actor=3e-3, lr_critic=3e-3, minibatch_size=128), "num_envs": 8, "rollout_steps": 32, "total_timesteps": 12_000,
    "save_interval": 30, "normalize_observations": True, "normalize_rewards": True, "hidden_dim": 32, "algorithm": Witness, **QUIET,
}  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, witnesses):
    """CartPole, trained by two processes: the result, what each of them witnessed, and the actor given."""
    actor = MLPActorNetwork(4, 32, 2, generator=torch.Generator().manual_seed(1))
    result = train_agent("CartPole-v1", actor, save_path=tmp_path_factory.mktemp("unbroken"), **CARTPOLE)
    files = [sorted((witnesses / f"{rank}-0").iterdir()) for rank in (0, 1)]
    return result, [[torch.load(file, weights_only=False) for file in mine] for mine in files], actor


def test_weights_are_bit_equal_on_both_ranks_after_every_update(unbroken):
    result, updates, _ = unbroken
    assert len(updates[0]) == len(updates[1]) == len(result.metrics) > 20
    for first, second in zip(*updates, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first["vectors"], second["vectors"], strict=True))
        assert not np.array_equal(first["rows"][0][0], second["rows"][0][0])  # each plays environments of its own


def test_budget_log_and_returns_count_over_both_ranks(unbroken):
    result, updates, _ = unbroken
    learned_from = sum(len(rows) - 1 for updates_of_one in updates for update in updates_of_one for rows in update["rows"])
    assert 12_000 <= result.timesteps == learned_from < 12_000 + 2 * 8 * 32
    assert result.metrics[-1]["timesteps"] == result.timesteps and result.stopped == "finished"
    assert read_metrics(result.path) == result.metrics
    assert [r for record in result.metrics for r in record["returns"]] == list(result)


def test_two_ranks_learn_cartpole(unbroken):
    """The uniform policy gets 22 and this run, which one seed reproduces, ends above 150 (500 is the most)."""
    result, _, _ = unbroken
    assert evaluate(result.agent, episodes=20).mean > 150


def test_the_callers_actor_has_learned_and_the_agent_can_be_loaded(unbroken):
    result, updates, actor = unbroken
    assert result.agent.actor is actor
    assert torch.equal(torch.cat([p.detach().reshape(-1) for p in actor.parameters()]), updates[0][-1]["vectors"][0])
    loaded = load_agent(result.path)
    assert all(torch.equal(a, b) for a, b in zip(loaded.tensors().values(), result.agent.tensors().values(), strict=True))


@pytest.mark.parametrize("critic", [None, "of its own"])
def test_the_language_models_that_the_caller_gave_have_learned_too(critic):
    """An adapter is still one afterwards, though the saved agent has it merged."""
    actor = LMActorNetwork("models/reasoner", lora=2)
    critic = LMCriticNetwork("models/reasoner") if critic else None
    result = train_agent("CoTEnv-v0", actor, critic, PPOConfig(lr_actor=1e-3), env_kwargs={"max_generation": 8}, max_episodes=8,
                         update_interval=8, save_path=None, **QUIET)  # fmt: skip
    agent = result.agent
    assert agent.actor is actor and (critic is None or agent.critic is critic)
    learned = [p for name, p in actor.named_parameters() if "lora_B" in name]
    assert learned and all(p.abs().sum() > 0 for p in learned), "peft begins with zeros"
    assert agent.critic.head.weight.abs().sum() > 0, "and so does the head"


def test_a_killed_process_costs_nothing_but_time(unbroken, witnesses, tmp_path, capfd):
    """Process 1 is killed, then, after the restart, process 0; the run is, bit for bit, the one that nobody disturbed."""
    whole, _, _ = unbroken
    actor = MLPActorNetwork(4, 32, 2, generator=torch.Generator().manual_seed(1))
    broken = train_agent("CartPole-v1", actor, save_path=tmp_path, callback=Deadly(at=4_000), **CARTPOLE)
    assert {folder.name for folder in witnesses.iterdir()} == {"0-0", "1-0", "0-1", "1-1", "0-2", "1-2"}  # process-restart
    assert list(broken) == list(whole)
    clocks = ("seconds", "steps_per_second")
    for one, other in zip(broken.metrics, whole.metrics, strict=True):
        assert {k: v for k, v in one.items() if k not in clocks} == {k: v for k, v in other.items() if k not in clocks}
    assert all(torch.equal(a, b) for a, b in zip(broken.agent.tensors().values(), whole.agent.tensors().values(), strict=True))
    assert len(list((tmp_path / "CartPole-v1").iterdir())) == 1
    assert capfd.readouterr().err == ""  # the launcher keeps its thoughts to itself


def test_an_error_in_one_process_reaches_the_caller_with_its_place():
    with pytest.raises(LookupError, match="the wheel has come off") as caught:
        train_agent(Short, env_kwargs={"trouble": "raises"}, num_envs=2, max_episodes=1000, save_path=None, **QUIET)
    assert caught.value.__notes__ == ["raised in process 1 of 2"]
    assert "processes.py" in str(caught.value.__cause__) and "in step" in str(caught.value.__cause__)


def test_processes_that_always_die_end_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "RESTARTS", 0)
    with pytest.raises(RuntimeError, match=r"has died 1 times, the last time process 1 of 2 \(exit code 3\).*resume=True"):
        train_agent(Short, env_kwargs={"trouble": "dies"}, num_envs=1, max_episodes=1000, save_path=tmp_path, **QUIET)


def test_parts_of_ones_own_work_in_every_process_and_nothing_is_kept_without_a_save_path(tmp_path, monkeypatch):
    """A callback stops process 1 after 60 steps, hence both; then a last update happens. Only the first has a tracker."""
    monkeypatch.chdir(tmp_path)
    (actor, critic), reckoner = networks(), Reckoner(".", stop_after=60)
    algorithm = PPO(actor, critic, PPOConfig(update_epochs=1, minibatch_size=8))
    before = actor.layers[0].weight.detach().clone()
    result = train_agent(Short, algorithm=algorithm, num_envs=2, max_episodes=1000, update_interval=10, save_path=None, eval_interval=10,
                         eval_episodes=1, save_interval=20, callback=reckoner, curriculum=reckoner, tracker=reckoner, **QUIET)  # fmt: skip
    assert result.path is None and result.stopped == "callback" and [path.name for path in tmp_path.iterdir()] == ["tracker-0"]
    assert not torch.equal(actor.layers[0].weight, before) and result.agent.actor is actor
    assert algorithm.optimizers[0].steps == sum(record["gradient_steps"] for record in result.metrics)
    assert torch.equal(algorithm.optimizers[0].vector[:24], actor.layers[0].weight.reshape(-1))  # and it can go on here
    assert reckoner.seen == 0 and reckoner.observed > 0  # a callback remembers there, a curriculum's state comes home
    assert len(result) >= 20 and {"evaluation", "observed"} <= set(result.metrics[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"env_name": lambda: Short()}, r"env_name cannot be sent to the 2 processes.*no lambda.*torchrun"),
        ({"callback": lambda moment: None}, r"callback cannot be sent to the 2 processes"),
        ({"env_kwargs": {"open": sys.stdout}}, r"env_kwargs cannot be sent to the 2 processes"),
        ({"env_name": gym.make("CartPole-v1")}, r"needs environments in each process, but an instance .* give its id"),
        ({"num_processes": 0}, r"num_processes=0; it must be a whole number"),
    ],
)
def test_what_cannot_be_sent_to_other_processes_is_refused_with_a_remedy(arguments, message):
    with pytest.raises(ValueError, match=message):
        train_agent(**{"env_name": "CartPole-v1", "save_path": None, **QUIET} | arguments)


@pytest.mark.parametrize(
    ("source", "line", "verdict"),
    [
        ("import x\nx.train()\n", 2, False),
        ("import x\nif __name__ == '__main__':\n    x.train()\n", 3, True),
        ("if 'a' == __name__:\n    if True:\n        pass\n        x.train()\n", 4, True),
        ("if __name__ == '__main__':\n    pass\nx.train()\n", 3, False),
        ("if True:\n    x.train()\n", 2, False),
        ("x.train()", None, True),
        ("not python at all", 1, True),
    ],
)
def test_a_script_that_would_train_again_when_it_is_imported_is_recognised(source, line, verdict):
    assert launch._is_guarded(source, line) == verdict


def test_what_a_notebook_defines_is_refused(monkeypatch):
    class Cell(gym.Env):
        pass

    Cell.__module__, Cell.__qualname__ = "__main__", "Cell"
    main = type(sys)("__main__")
    main.Cell = Cell
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(ValueError, match=r"env_name: defined in a notebook.*%%writefile"):
        train_agent(Cell, save_path=None, **QUIET)
    main.__file__ = __file__
    monkeypatch.setattr(launch, "_line_of_script", lambda: 1)
    with pytest.raises(ValueError, match=r'env_name: defined in .*if __name__ == "__main__"'):
        train_agent(Cell, save_path=None, **QUIET)


UNGUARDED = """
import gymnasium
from gymformer import train_agent
gymnasium.register("Own-v0", entry_point="tests.trainer.processes:Short")
result = train_agent("Own-v0", num_processes=2, num_envs=1, max_episodes=1_000_000, update_interval=20, save_path={path!r}, progress=False)
print("ended", result.stopped, len(result) > 0, result.path is not None, flush=True)
"""


def test_ctrl_c_saves_and_ends_all_also_in_a_script_without_a_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED.format(path=str(tmp_path / "runs")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment) as process:
        deadline = time.monotonic() + 120
        while not any(file.stat().st_size for file in tmp_path.glob("runs/*/*/metrics.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the processes get it too
        assert process.communicate(timeout=120)[0].splitlines()[-1:] == ["ended interrupted True True"]
    assert list(tmp_path.glob("runs/*/*/checkpoints/checkpoint-*"))


UNDER_TORCHRUN = """
import os, signal, sys
import torch
from gymformer import PPOConfig, train_agent
from tests.trainer.processes import Short, rank, restarts

def kill(moment):
    if rank() == 1 and restarts() == 0 and moment.timestep > 900:
        os.kill(os.getpid(), signal.SIGKILL)

folder = sys.argv[1]
torch.manual_seed(rank())
actor = torch.nn.Linear(3, 2)  # another one in each process
settings = dict(actor=actor, ppo_config=PPOConfig(update_epochs=1), num_envs=2, update_interval=15, save_interval=30, save_path=folder,
                seed=3)
first = train_agent(lambda: Short(), max_episodes=60, **settings)
longer = train_agent(lambda: Short(), max_episodes=240, resume=first.path, callback=kill, num_processes=2, **settings)
assert list(longer)[:60] == list(first) and len(longer) == 240 and first.path == longer.path
torch.save(actor.state_dict(), f"{folder}/{rank()}-{restarts()}.pt")
try:
    train_agent("CartPole-v1", num_processes=3)
except ValueError as error:
    print(error)
"""


def test_torchrun_runs_the_same_script_and_restarts_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(UNDER_TORCHRUN)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([*torchrun, script, tmp_path], capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("a process of this run has died; all of them were started again (restart 1)") == 2
    assert run.stdout.count("num_processes=3, but this process was started as one of 2") == 2
    first, second = (torch.load(tmp_path / f"{rank}-1.pt") for rank in (0, 1))
    assert torch.equal(first["weight"], second["weight"])
    assert len([path for path in tmp_path.glob("*/*") if path.is_dir()]) == 1  # the restarted script found its run again
