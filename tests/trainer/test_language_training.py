"""train_agent with language models: any token environment as it is, resumed bit for bit, watched, and refused with a remedy."""

import itertools
import json
import random
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymformer import MLPActorNetwork, PPOConfig, evaluate, load_agent, train_agent
from gymformer.env import TokenEnv
from gymformer.monitoring.log import read_metrics
from gymformer.rl.errors import NonFiniteError
from gymformer.rl.kl import AdaptiveCoefficient
from gymformer.rl.transformers_nn import LMActorNetwork, LMCriticNetwork
from gymformer.testing import byte_tokenizer, tiny_lm
from tests.language import TOKENS, Chatter, Counting, Table, TokenBandit, Tutorial, randomize, sharp_lm

QUICK = PPOConfig(update_epochs=1, minibatch_size=64)


def small(num_tokens: int = TOKENS, **settings) -> LMActorNetwork:
    return LMActorNetwork(tiny_lm(num_tokens, width=16, layers=1, context=64), **settings)


def quick(env, actor=None, **overrides):
    settings = {"ppo_config": QUICK, "max_episodes": 12, "update_interval": 4, "seed": 0, "save_path": None, "progress": False}
    return train_agent(env, actor or small(), **settings | overrides)


def assert_same_run(left, right) -> None:
    assert list(left) == list(right)
    assert numbers(left) == numbers(right)
    for (name, one), other in zip(left.agent.tensors().items(), right.agent.tensors().values(), strict=True):
        assert torch.equal(one, other), name


def numbers(result) -> list[dict]:
    """The log without its times of day."""
    return [
        {k: v for k, v in record.items() if k not in ("seconds", "steps_per_second")} for record in read_metrics(result.path)
    ]


# --- environments as they are -----------------------------------------------------------------------------------------


def test_an_environment_from_the_tutorial_trains_unmodified(tmp_path):
    """The same growing list, no tuple, reward 0, no use of the seed."""
    result = quick(Tutorial, num_envs=3, save_path=tmp_path)
    assert len(result) == 12 and all(isinstance(r, float) for r in result)
    assert [record["update"] for record in result.metrics] == [1, 2, 3]
    assert all(np.isfinite(record["policy_loss"]) for record in result.metrics)
    assert evaluate(load_agent(result.path), Tutorial, episodes=3).lengths


def test_an_environment_that_ignores_its_seed_is_reproduced_with_seed_globals():
    state = random.getstate()
    first, second = quick(Tutorial, seed_globals=True), quick(Tutorial, seed_globals=True)
    assert list(first) == list(second)
    assert random.getstate() == state


class Picture(gym.Env):
    """What no words describe."""

    observation_space, action_space = spaces.Box(0, 1, (12, 12)), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((12, 12), np.float32), {}


@pytest.mark.parametrize("kind", [{"rewrites": True}, {"masks": "info"}, {"masks": "method"}])
def test_replies_masks_and_rewritten_histories_train(kind):
    assert len(quick(lambda: Chatter(**kind), num_envs=3)) == 12


@pytest.mark.parametrize("actor", [
    lambda: small(temperature=0.7, top_k=5, top_p=0.9),
    lambda: small(lora=2),
    lambda: small(gradient_checkpointing=True),
    lambda: LMActorNetwork(tiny_lm(TOKENS, "qwen2", width=16, layers=1, context=64).bfloat16()),
    lambda: LMActorNetwork(tiny_lm(TOKENS, width=16, layers=1, dropout=0.5).train()),
], ids=["narrowed", "lora", "checkpointing", "bfloat16", "dropout"])  # fmt: skip
def test_models_of_all_kinds_train_with_a_reference(actor):
    result = quick(Chatter, actor(), reference="initial", kl_coef=0.05)
    assert len(result.metrics) == 3
    bound = 0.05 if result.agent.actor.device and next(result.agent.actor.parameters()).dtype == torch.bfloat16 else 1e-5
    assert abs(result.metrics[0]["kl_to_reference"]) < bound


def test_defaults_make_updates_whatever_the_budget():
    for budget in (1, 3, 65):
        result = train_agent(TokenBandit, small(4), max_episodes=budget, save_path=None, progress=False, seed=0)
        assert (len(result), len(result.metrics)) == (budget, 1)
        assert result.metrics[0]["gradient_steps"] >= 2


def test_a_module_of_ones_own_has_the_budget_of_text_too(tmp_path):
    result = train_agent(TokenBandit, Table(4, 4), Table(4, 1), save_path=tmp_path, progress=False, seed=0)
    assert len(result) == 5120
    config = json.loads((result.path / "config.json").read_text())
    assert (config["update_interval"], config["save_interval"]) == (256, 1024)


def test_an_instance_of_an_environment_stays_the_givers():
    class Closing(Chatter):
        closed = False

        def close(self):
            self.closed = True

    env = Closing()
    result = quick(env, num_envs=1)
    assert len(evaluate(result.agent, env, episodes=2).lengths) == 2
    assert not env.closed
    with pytest.raises(ValueError, match="num_envs=2 needs as many environments, but one instance"):
        quick(env, num_envs=2)


def test_the_choices_for_text_are_said_aloud(capsys):
    train_agent(TokenBandit, small(4), max_episodes=3, save_path=None, seed=0)
    said = capsys.readouterr().err
    assert "chosen for text: lr_actor=0.0001, lr_critic=0.001, gamma=1.0, update_epochs=2, minibatch_size=1024, lam=1.0" in said
    assert "TokenBandit: 3 environments (tokens), cpu, one thread because the networks are small, seed 0" in said


def test_budgets_of_steps_and_of_episodes():
    assert 30 <= quick(Chatter, max_episodes=None, total_timesteps=30, num_envs=2).timesteps < 32
    pieces = quick(Chatter, rollout_steps=3, num_envs=2, max_episodes=6)
    assert len(pieces) == 6
    assert all(6 <= b["timesteps"] - a["timesteps"] <= 7 for a, b in zip(pieces.metrics, pieces.metrics[1:-1], strict=False))
    capped = quick(lambda: Counting(1000), small(4), max_timesteps=7, num_envs=2)
    assert list(capped) == [7.0] * 12


def test_one_seed_reproduces_a_run_whatever_else_draws():
    first = quick(Chatter, num_envs=3)
    torch.rand(5), np.random.rand()  # noqa: NPY002
    assert list(first) == list(quick(Chatter, num_envs=3))
    assert list(first) != list(quick(Chatter, num_envs=3, seed=1))


def test_rewards_of_the_result_are_what_the_environment_paid():
    """A penalty of a thousand nats' worth stands beside them."""
    with_penalty = quick(TokenBandit, small(4), reference=Table(4, 4, seed=3), kl_coef=1000.0)
    assert set(with_penalty) <= set(TokenBandit().pays)
    assert with_penalty.metrics[0]["kl_coefficient"] == 1000.0


def test_transforms_see_the_segments_and_their_statistics_are_logged():
    def shortness(segments):
        for segment in segments:
            segment.penalties = np.full(len(segment), -1.0)
        return {"shortness": float(len(segments))}

    result = quick(Chatter, transforms=[shortness], reference="initial")
    assert [record["shortness"] for record in result.metrics] == [4.0] * 3


# --- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["initial", "model", "actor", "module"])
def test_a_reference_is_asked_at_the_actors_temperature(reference):
    """Otherwise the divergence would not be 0 at the first step."""
    actor = LMActorNetwork(sharp_lm(), temperature=0.5)
    given = {"initial": "initial", "model": LMActorNetwork(sharp_lm()), "actor": actor, "module": sharp_lm()}[reference]
    result = quick(Chatter, actor, reference=given, ppo_config=PPOConfig(lr_actor=1e-2))
    assert abs(result.metrics[0]["kl_to_reference_k3"]) < 1e-6
    assert result.metrics[1]["kl_to_reference_k3"] > 1e-5


def test_a_reference_stays_as_it_was_given():
    given = LMActorNetwork(sharp_lm())
    before = {name: value.clone() for name, value in given.state_dict().items()}
    quick(Chatter, LMActorNetwork(sharp_lm()), reference=given, ppo_config=PPOConfig(lr_actor=1e-2))
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())
    assert all(p.requires_grad for p in given.parameters()), "a frozen copy is asked, and the given one is left alone"


def test_a_reference_that_its_giver_refreshes_follows_the_actor():
    actor = LMActorNetwork(sharp_lm())
    reference: Any = actor.reference(refreshable=True)
    refresh = [lambda segments: reference.refresh() or {}]  # the policy that played them is the reference of the next ones
    kept, followed = (
        quick(Chatter, LMActorNetwork(sharp_lm()), reference="initial", ppo_config=PPOConfig(lr_actor=1e-2)),
        quick(Chatter, actor, reference=reference, transforms=refresh, ppo_config=PPOConfig(lr_actor=1e-2)),
    )
    last = [result.metrics[-1]["kl_to_reference_k3"] for result in (kept, followed)]
    assert 0 < last[1] < 0.5 * last[0]


@pytest.mark.parametrize("lora", [None, 2], ids=["copy", "second adapter"])
def test_a_refreshed_reference_is_resumed_with(lora, tmp_path):
    def run(episodes, folder, resume=False):
        actor = LMActorNetwork(sharp_lm(), lora=lora)
        reference: Any = actor.reference(refreshable=True)
        return quick(Chatter, actor, reference=reference, transforms=[lambda segments: reference.refresh() or {}], save_path=folder,
                     max_episodes=episodes, save_interval=4, resume=resume, ppo_config=PPOConfig(lr_actor=1e-2))  # fmt: skip

    whole = run(12, tmp_path / "whole")
    run(8, tmp_path / "parts")  # the reference of the next rollout is the policy after the first update
    resumed = run(12, tmp_path / "parts", resume=True)
    assert_same_run(whole, resumed)
    assert resumed.metrics[-1]["kl_to_reference_k3"] > 1e-6


def test_an_adaptive_coefficient_belongs_to_the_run():
    coefficient = AdaptiveCoefficient(target=1e-4, horizon=10.0)
    runs = [quick(Chatter, reference="initial", kl_coef=coefficient, ppo_config=PPOConfig(lr_actor=1e-2)) for _ in range(2)]
    for result in runs:
        assert next(record["kl_coefficient"] for record in result.metrics) == 0.1
        assert len({record["kl_coefficient"] for record in result.metrics}) == 3
    assert coefficient.value == 0.1


# --- resume -----------------------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


def whole_and_resumed(tmp_path: Path, actor, at: float, critic=None, **overrides):
    """The same run without an interruption, and killed when the share `at` of its steps was over, then resumed."""
    settings = {"num_envs": 3, "max_episodes": 18, "update_interval": 3, "save_interval": 6,
                "ppo_config": PPOConfig(update_epochs=2, minibatch_size=16, lr_actor=1e-3, lr_schedule="linear")} | overrides  # fmt: skip

    def run(path: str, **more):
        return quick(Chatter, actor(), critic=critic() if critic else None, save_path=tmp_path / path, **settings | more)

    whole = run("whole")

    def kill(moment):
        if moment.timestep > whole.timesteps * at:
            raise Killed

    with pytest.raises(Killed):
        run("killed", callback=kill)
    return whole, run("killed", resume=True)


@pytest.mark.parametrize("at", [0.2, 0.5, 0.75, 0.95])
def test_a_run_killed_at_any_update_goes_on_bit_for_bit(at, tmp_path):
    assert_same_run(*whole_and_resumed(tmp_path, small, at))


class Adapters:
    """Makes actors with an adapter: the first two with the same, so that their runs can be compared, and then another, as peft
    draws it anew for who resumes a run."""

    def __init__(self):
        self.made = 0

    def __call__(self) -> LMActorNetwork:
        actor = LMActorNetwork(sharp_lm(layers=1), lora=2)
        self.made += 1
        randomize(actor, "lora_", scale=0.3 if self.made < 3 else 0.1)
        return actor


@pytest.mark.parametrize(
    ("actor", "critic", "overrides"),
    [
        (Adapters(), None, {"reference": "initial"}),
        (small, lambda: LMCriticNetwork(tiny_lm(TOKENS, "llama", width=16, layers=1)), {}),
        (lambda: LMActorNetwork(sharp_lm(layers=1, factor=2.0).bfloat16()), None, {}),
        (small, None, {"reference": "initial", "kl_coef": AdaptiveCoefficient(target=1e-4, horizon=10.0)}),
        (small, None, {"rollout_steps": 5}),
        (lambda: Table(TOKENS, TOKENS), lambda: Table(TOKENS, 1), {}),
    ],
    ids=["lora", "critic of its own", "bfloat16", "adaptive coefficient", "pieces", "modules of one's own"],
)
def test_also_with(actor, critic, overrides, tmp_path):
    whole, resumed = whole_and_resumed(tmp_path, actor, 0.6, critic, **overrides)
    assert_same_run(whole, resumed)
    if isinstance(overrides.get("kl_coef"), AdaptiveCoefficient):
        betas = [record["kl_coefficient"] for record in resumed.metrics]
        assert betas[0] == 0.1 and len(set(betas)) == len(betas)


def test_an_actor_that_has_learned_since_is_no_reference_of_the_resumed_run(tmp_path):
    actor, settings = small(), {"reference": "initial", "save_path": tmp_path, "ppo_config": PPOConfig(lr_actor=1e-2)}
    quick(Chatter, actor, **settings)
    with pytest.raises(ValueError, match="build the actor anew before resuming"):
        quick(Chatter, actor, resume=True, max_episodes=20, **settings)
    assert len(quick(Chatter, small(), resume=True, max_episodes=20, **settings)) == 20


def test_a_checkpoint_of_an_adapter_holds_the_adapter_alone(tmp_path):
    import safetensors.torch

    path = quick(Chatter, small(lora=2), save_path=tmp_path, save_interval=4).path
    newest = max(path.glob("checkpoints/checkpoint-*")) / "tensors.safetensors"
    names = [name for name in safetensors.torch.load(newest.read_bytes()) if name.startswith("agent/")]
    assert names and all("lora_" in name or name.startswith("agent/critic.head") for name in names)


def test_the_seed_alone_does_not_decide_a_resumed_run_that_is_called_otherwise(tmp_path):
    quick(Chatter, small(temperature=0.7), save_path=tmp_path)
    with pytest.raises(ValueError, match=r"was started with sampling=.*0\.7.*, and cannot go on with .*1\.0"):
        quick(Chatter, small(), save_path=tmp_path, resume=True, max_episodes=20)


# --- watching ---------------------------------------------------------------------------------------------------------


def test_the_callback_sees_every_token_and_the_row_it_was_chosen_for():
    moments = []
    result = quick(lambda: Chatter(replies=False), num_envs=3, callback=moments.append)
    assert len(moments) == result.timesteps
    assert all(type(m.action) is int and isinstance(m.observation, tuple) for m in moments)
    assert sum(m.ended for m in moments) == 12
    for environment in range(3):
        own = [m for m in moments if m.environment == environment]
        for before, after in itertools.pairwise(own):
            if not before.ended:
                assert after.observation == (*before.observation, before.action)
    assert [m.timestep for m in moments] == sorted(m.timestep for m in moments)
    assert moments[-1].statistics["update"] == 2 and moments[-1].running_reward is not None


def test_a_callback_that_returns_false_stops_after_a_last_update():
    result = quick(Chatter, num_envs=1, callback=lambda moment: moment.timestep < 3)
    assert (result.stopped, result.timesteps, len(result.metrics)) == ("callback", 3, 1)


def test_every_statistic_of_a_language_run_is_defined_in_the_readme(tmp_path):
    readme = Path(__file__).parents[2].joinpath("gymformer/monitoring/README.md").read_text(encoding="utf-8")
    defined = set(re.findall(r"`([a-z_0-9]+)`", readme))
    result = quick(
        Chatter, reference="initial", kl_coef=AdaptiveCoefficient(), save_path=tmp_path, eval_interval=6, eval_episodes=2
    )
    records = read_metrics(result.path)
    assert {"kl_to_reference", "kl_to_reference_k3", "kl_coefficient"} <= set(records[0])
    for record in records:
        assert set(record) - defined == set()


def test_evaluations_keep_the_best_agent(tmp_path):
    result = quick(Chatter, save_path=tmp_path, eval_interval=4, eval_episodes=3)
    assert (result.path / "best" / "agent.json").is_file()
    assert [record["evaluation"] is not None for record in result.metrics] == [True] * 3


def test_a_curriculum_is_asked_at_every_reset_and_sees_every_rollout():
    class Counted:
        asked, seen = 0, 0

        def options(self):
            self.asked += 1
            return {"difficulty": 0.5}

        def observe(self, segments):
            self.seen += len(segments)
            return {"difficulty": 0.5}

    counted = Counted()
    quick(Chatter, num_envs=2, curriculum=counted)
    assert (counted.asked, counted.seen) == (12, 12)


def test_the_saved_agent_is_a_folder_of_transformers(tmp_path):
    gym.register("ChatterOfTests-v0", Chatter)
    try:
        actor = LMActorNetwork(tiny_lm(261, width=16, layers=1, context=64), tokenizer=byte_tokenizer())
        result = quick("ChatterOfTests-v0", actor, env_kwargs={"num_tokens": 261}, save_path=tmp_path, max_timesteps=5)
        agent = load_agent(result.path)
        assert (agent.env_id, agent.env_kwargs, agent.max_timesteps) == ("ChatterOfTests-v0", {"num_tokens": 261}, 5)
        assert max(evaluate(agent, episodes=4).lengths) <= 5
        assert agent.actor.tokenizer.decode([72, 105]) == "Hi"
        assert json.loads((result.path / "agent" / "config.json").read_text())["model_type"] == "gpt2"
    finally:
        del gym.registry["ChatterOfTests-v0"]


def test_a_model_folder_without_a_tokenizer_trains_in_an_environment_that_needs_none(tmp_path):
    tiny_lm(TOKENS, width=16, layers=1, context=64).save_pretrained(tmp_path / "model")
    result = quick(Chatter, LMActorNetwork(tmp_path / "model"), save_path=tmp_path / "runs")
    assert evaluate(load_agent(result.path), Chatter, episodes=2).lengths


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "actor", "overrides", "match"),
    [
        (
            Chatter,
            lambda: small(10),
            {},
            r"the actor has 10 output rows, but the environment has 12 tokens; call actor.lm.resize",
        ),
        (Chatter, lambda: MLPActorNetwork(4, 8, TOKENS), {}, "the actor cannot read a batch of rows of tokens"),
        (
            Chatter,
            lambda: Table(TOKENS, TOKENS),
            {},
            "the actor is a module of your own; give a critic too: any module that maps tokens",
        ),
        (Chatter, small, {"critic": torch.nn.Linear(4, 1)}, "the critic cannot read a batch of rows of tokens"),
        (Chatter, small, {"normalize_observations": True}, "shows tokens, which cannot be normalised"),
        (Chatter, small, {"normalize_rewards": True}, "rewards of token environments are not normalised"),
        (Chatter, lambda: tiny_lm(TOKENS), {}, "the actor is a module of your own; give a critic"),
        (
            Picture,
            lambda: LMActorNetwork(tiny_lm(261), tokenizer=byte_tokenizer()),
            {},
            "says nothing in words",
        ),
        ("CartPole-v1", lambda: LMActorNetwork(tiny_lm(8)), {}, "the actor cannot read a batch of observations"),
        (lambda: Counting(5), lambda: small(3), {}, "the actor has 3 output rows, but the environment has 4 tokens"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_remedy(env, actor, overrides, match):
    with pytest.raises(ValueError, match=match):
        quick(env, actor(), **overrides)


@pytest.mark.parametrize("name", ["actor", "critic", "reference"])
def test_a_models_name_is_no_network(name):
    settings = {"actor": small(), name: "models/reasoner"}
    with pytest.raises(TypeError, match=f"{name}='models/reasoner' is no network; give a torch module, such as LM.*Network"):
        train_agent(Chatter, **settings)


@pytest.mark.parametrize("coefficient", [-0.1, float("nan"), float("inf"), "0.1"])
def test_a_penalty_that_would_pay_is_refused(coefficient):
    with pytest.raises(ValueError, match="must be finite and not negative"):
        quick(Chatter, reference="initial", kl_coef=coefficient)


def test_without_an_actor_a_token_environment_asks_for_one():
    with pytest.raises(ValueError, match=r"is a token environment \(12 tokens\), and needs a language model: train_agent"):
        train_agent(Chatter, save_path=None, progress=False)


def test_a_prompt_longer_than_the_context_is_refused():
    class Long(TokenBandit):
        def reset(self, *, seed=None, options=None):
            return (1,) * 64, super().reset(seed=seed)[1]

    with pytest.raises(ValueError, match="Long starts with 64 tokens, but the model reads 64 and needs room for an answer"):
        quick(Long, small(4))


def test_a_broken_reward_stops_and_what_led_there_is_saved(tmp_path):
    with pytest.raises(NonFiniteError, match="gave the reward nan") as caught:
        quick(lambda: TokenBandit((float("nan"),) * 4), small(4), save_path=tmp_path)
    assert "what led there is saved in" in caught.value.__notes__[0]


def test_an_episode_is_not_longer_than_the_context():
    result = quick(lambda: Counting(1000), small(4), num_envs=2)
    assert list(result) == [62.0] * 12  # 64 tokens, two of them the prompt's


def test_the_spaces_must_be_those_of_tokens():
    class Floats(TokenBandit):
        def __init__(self):
            super().__init__()
            self.observation_space = spaces.Sequence(spaces.Box(0, 1))

    with pytest.raises(
        (TypeError, ValueError), match=r"cannot be turned into a fixed number|which a language model cannot read"
    ):
        quick(Floats, small(4))


# --- what does not fit together ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [400, 261])  # more than the environment has tokens, and too few, which is not what is wrong
def test_an_actor_with_another_tokenizer_than_the_environments_is_refused(rows):
    actor = LMActorNetwork(tiny_lm(rows), tokenizer=byte_tokenizer())
    with pytest.raises(
        ValueError, match=r"CoTEnv-v0 speaks the tokens of .*reasoner, and the actor those of another; leave model_name out"
    ):
        train_agent("CoTEnv-v0", actor=actor, env_kwargs={"model_name": "models/reasoner"}, max_episodes=2, save_path=None)


def test_a_reference_that_reads_something_else_into_the_tokens_is_refused():
    actor = LMActorNetwork(tiny_lm(261), tokenizer=byte_tokenizer())
    settings: dict = {"env_kwargs": {"n_few_shot_examples": 0, "system_prompt": "", "max_generation": 2}, "update_interval": 2}
    with pytest.raises(ValueError, match="the reference has a tokenizer of 300 tokens, and the actor another of 261"):
        quick("CoTEnv-v0", actor, reference=LMActorNetwork("models/reasoner"), **settings)
    more = byte_tokenizer()
    more.add_tokens(["<hint>"])  # which the actor does not know
    quick("CoTEnv-v0", actor, reference=LMActorNetwork(tiny_lm(262), tokenizer=more), max_episodes=2, **settings)


def test_a_critic_with_too_few_tokens_is_refused():
    actor = LMActorNetwork(tiny_lm(261), tokenizer=byte_tokenizer())
    with pytest.raises(ValueError, match=r"the critic cannot read a batch of rows of tokens up to 260"):
        train_agent("CoTEnv-v0", actor=actor, critic=LMCriticNetwork(tiny_lm(200)), max_episodes=2, save_path=None)


def test_episodes_that_fill_the_context_are_told():
    actor = LMActorNetwork(tiny_lm(261, context=64), tokenizer=byte_tokenizer())
    settings = {
        "env_kwargs": {"n_few_shot_examples": 0, "system_prompt": ""},
        "max_episodes": 2,
        "save_path": None,
        "progress": False,
        "seed": 0,
    }
    with pytest.warns(
        UserWarning, match=r"2 of 2 episodes of CoTEnv-v0 filled the actor's context of 64 tokens and were cut there"
    ):
        train_agent("CoTEnv-v0", actor=actor, **settings)


def test_an_environment_that_takes_a_model_name_alone_gets_the_actors(tmp_path):
    asked = []

    class Named(TokenEnv):
        def __init__(self, model_name):
            asked.append(model_name)
            super().__init__(model_name, max_generation=2)

        def prompt(self, options):
            return [5]

        def is_over(self, new):
            return False

        def score(self, text):
            return 0.0

    train_agent(Named, actor=LMActorNetwork("models/reasoner"), max_episodes=2, save_path=None, progress=False, seed=0)
    assert asked and all(str(name).endswith("models/reasoner") for name in asked)


def test_in_half_precision_the_divergence_at_first_is_zero_too():
    """Cached passes differ from whole ones by a hundredth of a nat; the reference is compared with a whole one."""
    actor = LMActorNetwork(tiny_lm(261, "qwen2").bfloat16(), tokenizer=byte_tokenizer())
    result = train_agent("CoTEnv-v0", actor=actor, reference="initial", max_episodes=8, save_path=None, progress=False, seed=0,
                         env_kwargs={"max_generation": 16, "n_few_shot_examples": 0, "system_prompt": ""})  # fmt: skip
    assert abs(result.metrics[0]["kl_to_reference"]) < 1e-5 and result.metrics[0]["kl_to_reference_k3"] < 1e-5
