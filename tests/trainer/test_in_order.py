"""Tasks that come in the order of a file, in training and in evaluation, where every episode is reset with a seed."""

from types import SimpleNamespace

from gymformer import LMActorNetwork, train_agent
from gymformer.data.arithmetic import Problem
from gymformer.env import GSM8KEnv, LinesToTokens
from gymformer.evaluation import play_tokens
from gymformer.rl.agent import language_agent
from gymformer.rl.token_envs import TokenEnvs
from gymformer.testing import byte_tokenizer, tiny_lm
from gymformer.trainer.distributed import Ranks
from gymformer.trainer.run import Run

PROBLEMS = [Problem(f"{n}?", str(n), ("Easy.",)) for n in range(5)]


def problems(max_samples: int | None = None) -> GSM8KEnv:
    return GSM8KEnv(PROBLEMS, 0, deterministic=True, max_samples=max_samples, max_lines=1)


def actor() -> LMActorNetwork:
    return LMActorNetwork(tiny_lm(len(byte_tokenizer()), context=512), tokenizer=byte_tokenizer())


def test_training_goes_through_the_file_and_on_after_a_checkpoint(tmp_path):
    asked = []

    def look(segments):
        asked.extend(segment.info["question"] for segment in segments)
        return {}

    train_agent(problems, actor(), max_episodes=8, update_interval=2, save_interval=4, num_envs=2, transforms=[look], seed=0,
                save_path=tmp_path, progress=False)  # fmt: skip
    assert asked == [f"{n % 5}?" for n in range(8)]


def test_the_members_of_a_group_are_asked_the_same(tmp_path):
    asked = []

    def look(segments):
        asked.extend(segment.info["question"] for segment in segments)
        return {}

    train_agent(problems, actor(), algorithm="rloo", max_episodes=16, update_interval=8, num_envs=4, transforms=[look], seed=0,
                save_path=None, progress=False)  # fmt: skip
    assert asked == [f"{n // 4}?" for n in range(16)]


def test_several_processes_take_turns():
    asked = []
    for rank in range(2):
        envs = TokenEnvs([LinesToTokens(problems(), byte_tokenizer())])
        run = SimpleNamespace(settings={"seed": 0, "seed_globals": False}, ranks=Ranks(rank, 2), envs=envs, returns=[0.0] * 6, checkpoints=1,
                              reward_normalizer=None)  # fmt: skip
        envs.group_size = 2
        Run._restart_envs(run)  # type: ignore[arg-type]
        asked.append([envs.start(1)[0].info["question"] for _ in range(4)])
    assert asked == [["3?", "3?", "0?", "0?"], ["4?", "4?", "1?", "1?"]]


def test_an_evaluation_asks_each_once():
    played = play_tokens(language_agent(actor()), problems, episodes=5, num_envs=2, seed=3)
    assert [segment.info["question"] for segment in played] == [f"{n}?" for n in range(5)]
