"""A trained language agent acts, is saved as a folder of transformers, and comes back from it."""

import json
import shutil

import numpy as np
import pytest
import torch
from gymnasium import spaces
from transformers import AutoModelForCausalLM

from gymformer import PPO, evaluate, load_agent
from gymformer.evaluation.evaluate import play_tokens
from gymformer.rl.agent import TrainedAgent, language_agent
from gymformer.rl.envs import make_envs
from gymformer.rl.networks import match_critic, match_tokens
from gymformer.rl.rollouts import collect
from gymformer.rl.transformers_nn import LMActorNetwork, LMCriticNetwork
from gymformer.testing import byte_tokenizer, tiny_lm
from tests.helpers import ppo_for
from tests.language import ARCHITECTURES, TOKENS, Chatter, Counting, Table, lm_actor, randomize, sharp_lm

ROW = [3, 5, 7]


def agent_of(actor, critic=None, trained: bool = True) -> TrainedAgent:
    """An agent that has learned from one rollout, so that its parameters are those that the optimiser has packed."""
    envs = make_envs(Chatter, 2)
    if trained and critic is not None:
        ppo = ppo_for(actor, critic, lr_actor=1e-2, lr_critic=1e-2)
        ppo.update(collect(envs, actor, episodes=4, generator=torch.Generator().manual_seed(0), critic=critic))
    return TrainedAgent(actor, critic, envs.observation_space, envs.action_space, max_timesteps=20)


def own_critic(**settings) -> LMCriticNetwork:
    critic = LMCriticNetwork(sharp_lm("llama"), **settings)
    randomize(critic, "lora_")
    return critic


def logits(actor, row=ROW) -> torch.Tensor:
    with torch.no_grad():
        return actor(torch.tensor([row]))[0]


AGENTS = {
    "plain": lambda: agent_of(lm_actor()),
    "value head": lambda: agent_of(actor := lm_actor("llama"), actor.value_head()),
    "own critic": lambda: agent_of(lm_actor("qwen2"), own_critic()),
    "lora": lambda: agent_of(actor := lm_actor("llama", lora=2), actor.value_head()),
    "lora of both": lambda: agent_of(lm_actor(lora=2), own_critic(lora=2)),
    "bfloat16": lambda: agent_of(actor := lm_actor(dtype=torch.bfloat16), actor.value_head()),
}


@pytest.mark.parametrize("kind", AGENTS)
def test_a_saved_agent_comes_back_and_transformers_alone_loads_it(kind, tmp_path):
    agent = AGENTS[kind]()
    folder = agent.save_pretrained(tmp_path / "agent")
    again = load_agent(folder)
    tolerance = {"rtol": 0, "atol": 0 if "lora" not in kind else 1e-5}
    torch.testing.assert_close(logits(again.actor), logits(agent.actor), **tolerance)
    assert next(again.actor.parameters()).dtype == next(agent.actor.parameters()).dtype
    assert (again.observation_space, again.action_space) == (agent.observation_space, agent.action_space)
    if agent.critic is None:
        assert again.critic is None
        with pytest.raises(ValueError, match="this agent has no critic"):
            again.value(ROW)
    else:
        assert type(again.critic).__name__ == type(agent.critic).__name__
        assert again.value(ROW) == pytest.approx(agent.value(ROW), abs=1e-5)
        assert abs(agent.value(ROW)) > 1e-4
    with torch.no_grad():
        alone = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")(torch.tensor([ROW])).logits[0, -1]
    # Ours computes GPT-2's activation as one kernel, which rounds otherwise.
    torch.testing.assert_close(alone, logits(agent.actor), rtol=0, atol=1e-5 if kind != "bfloat16" else 0.05)
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".json", ".safetensors"}
    assert not any("lora" in name for name, _ in again.actor.named_parameters())


def test_a_loaded_agent_plays_as_before_and_can_go_on_learning(tmp_path):
    agent = AGENTS["value head"]()
    again = load_agent(agent.save_pretrained(tmp_path / "agent"))
    one, other = (evaluate(a, Chatter, episodes=5, greedy=greedy, seed=3).returns for a in (agent, again) for greedy in (True,))
    assert one == other
    assert (
        evaluate(again, Chatter, episodes=4, seed=1).returns == evaluate(again, Chatter, episodes=4, seed=1, num_envs=4).returns
    )
    agent_of(again.actor, again.critic)


def test_the_sampling_of_its_policy_is_kept(tmp_path):
    agent = agent_of(lm_actor(temperature=0.5, top_k=2))
    again = load_agent(agent.save_pretrained(tmp_path / "agent"))
    assert (again.actor.policy.temperature, again.actor.policy.top_k, again.actor.policy.top_p) == (0.5, 2, None)
    best_two = set(logits(agent.actor)[:TOKENS].topk(2).indices.tolist())
    assert {again.act(tuple(ROW), generator=torch.Generator().manual_seed(seed)) for seed in range(30)} == best_two


def test_acting_greedy_with_a_mask_and_sampled(generator):
    agent = AGENTS["plain"]()
    best = int(logits(agent.actor).argmax())
    for row in (ROW, tuple(ROW), np.array(ROW)):
        assert agent.act(row, greedy=True) == best
        assert type(agent.act(row, greedy=True)) is int
    mask = np.ones(TOKENS, np.int8)
    mask[best] = 0
    assert agent.act(ROW, greedy=True, action_mask=mask) != best
    assert all(agent.act(ROW, action_mask=mask, generator=generator) != best for _ in range(20))
    with pytest.raises(ValueError, match="this agent reads tokens, which no encoder turns into vectors"):
        agent.encoder  # noqa: B018


def test_the_tokenizer_lies_in_the_folder_where_there_is_one(tmp_path):
    actor = LMActorNetwork(sharp_lm(num_tokens=261), tokenizer=byte_tokenizer())
    match_tokens(actor, 261)
    space = spaces.Discrete(261)
    folder = TrainedAgent(actor, None, spaces.Sequence(space), space).save_pretrained(tmp_path / "agent")
    assert load_agent(folder).actor.tokenizer.decode([72, 105]) == "Hi"
    assert not load_agent(AGENTS["plain"]().save_pretrained(tmp_path / "without")).actor.has_tokenizer


def test_saving_again_replaces_the_agent_and_leaves_nothing_beside_it(tmp_path):
    first, second = AGENTS["own critic"](), agent_of(lm_actor(model={"seed": 9}))
    first.save_pretrained(tmp_path / "agent")
    second.save_pretrained(tmp_path / "agent")
    assert logits(load_agent(tmp_path / "agent").actor).equal(logits(second.actor))
    assert [path.name for path in tmp_path.iterdir()] == ["agent"]
    assert not (tmp_path / "agent" / "critic").exists()


@pytest.mark.parametrize("kind", ["language model", "table"])
def test_a_model_that_is_no_agent_is_never_overwritten(kind, tmp_path):
    """A folder of transformers has a config.json too: that of the model one started from, say."""
    sharp_lm().save_pretrained(tmp_path / "model")
    before = sorted((path.name, path.read_bytes()) for path in (tmp_path / "model").iterdir())
    agent = AGENTS["plain"]() if kind == "language model" else agent_of(match_tokens(Table(TOKENS, TOKENS), TOKENS))
    with pytest.raises(FileExistsError, match="exists and is not an agent's folder; give a folder that is new or empty"):
        agent.save_pretrained(tmp_path / "model")
    assert sorted((path.name, path.read_bytes()) for path in (tmp_path / "model").iterdir()) == before


@pytest.mark.parametrize("file", ["model.safetensors", "value_head.safetensors", "critic/model.safetensors"])
def test_a_damaged_file_is_refused(file, tmp_path):
    folder = AGENTS["own critic"]().save_pretrained(tmp_path / "agent")
    content = bytearray((folder / file).read_bytes())
    content[-1] ^= 1
    (folder / file).write_bytes(bytes(content))
    with pytest.raises(ValueError, match=rf"{file.split('/')[-1]} is damaged"):
        load_agent(folder)
    (folder / file).unlink()
    with pytest.raises(ValueError, match=rf"{file.split('/')[-1]} is missing; the folder is incomplete"):
        load_agent(folder)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"version": 99}, "version 99"),
        ({"sha256": ...}, "agent.json lacks sha256"),
        ({"sampling": {"temprature": 1}}, "describes nothing that can be built"),
        ({"action_space": {"type": "Nothing"}}, "not a space that gymformer saved"),
        ({"critic": "Mine"}, r"the critic in .* is a module of your own \(Mine\); build it, and pass it"),
    ],
)
def test_a_changed_description_is_refused(change, match, tmp_path):
    folder = AGENTS["value head"]().save_pretrained(tmp_path / "agent")
    description = json.loads((folder / "agent.json").read_text()) | change
    (folder / "agent.json").write_text(json.dumps({key: value for key, value in description.items() if value is not ...}))
    with pytest.raises(ValueError, match=match):
        load_agent(folder)


def test_modules_of_ones_own_are_passed_in(tmp_path):
    actor, critic = match_tokens(Table(TOKENS, TOKENS), TOKENS), match_critic(Table(TOKENS, 1), (1,), num_tokens=1)
    folder = agent_of(actor, critic).save_pretrained(tmp_path / "agent")
    with pytest.raises(ValueError, match=r"the actor in .* is a module of your own \(Table\)"):
        load_agent(folder)
    again = load_agent(folder, actor=Table(TOKENS, TOKENS, seed=5), critic=Table(TOKENS, 1, seed=5))
    assert logits(again.actor).equal(logits(actor))
    assert again.reads_tokens and again.value(ROW) == critic(torch.tensor([ROW])).item()


def test_a_loaded_agent_needs_its_folder_no_more(tmp_path):
    language_agent(LMActorNetwork("models/reasoner"), "CoTEnv-v0").save_pretrained(tmp_path / "agent")
    agent = load_agent(tmp_path / "agent")
    shutil.rmtree(tmp_path / "agent")
    assert len(evaluate(agent, episodes=2).returns) == 2


def test_an_actor_that_has_met_no_environment_says_how_it_can():
    actor = LMActorNetwork(tiny_lm(TOKENS))
    with pytest.raises(ValueError, match=r"let it act first \(collect\), or call match_tokens\(actor, envs.num_tokens\)"):
        PPO(actor, actor.value_head())


def test_a_critic_of_ones_own_beside_a_language_model(tmp_path):
    critic = match_critic(Table(TOKENS, 1), (1,), num_tokens=1)
    folder = agent_of(lm_actor(), critic).save_pretrained(tmp_path / "agent")
    with pytest.raises(ValueError, match="is a module of your own"):
        load_agent(folder)
    again = load_agent(folder, critic=Table(TOKENS, 1, seed=7))
    assert again.value(ROW) == critic(torch.tensor([ROW])).item()
    with pytest.raises(ValueError, match="the critic given does not fit the tensors"):
        load_agent(folder, critic=Table(TOKENS + 1, 1))


def test_evaluation_asks_the_same_questions_whatever_is_answered(tmp_path):
    one, other = agent_of(lm_actor()), agent_of(lm_actor(model={"seed": 4}))
    first, second = (play_tokens(agent, Chatter, episodes=6, seed=2) for agent in (one, other))
    assert [s.info["seed"] for s in first] == [s.info["seed"] for s in second]
    assert [s.actions.tolist() for s in first] != [s.actions.tolist() for s in second]
    with pytest.raises(ValueError, match="evaluate it in the environment that it was trained in"):
        evaluate(one, lambda: Counting(3), episodes=1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_value_of_one_row_is_that_of_the_rollout(architecture, generator):
    actor = lm_actor(architecture)
    head = actor.value_head()
    randomize(head, "head")
    agent = agent_of(actor, head, trained=False)
    (segment,) = collect(make_envs(Chatter, 1), actor, episodes=1, generator=generator, critic=head)
    assert agent.value(segment.rows[0][: segment.col[0] + 1]) == pytest.approx(segment.values[0], abs=1e-4)
