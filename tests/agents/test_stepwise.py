"""A policy that writes line by line, in a loop of one's own."""

from importlib.util import find_spec

import gymnasium as gym
import numpy as np
import pytest
import torch

import gymformer
from gymformer.agents import LineBuffer, StepwiseMathPolicy
from gymformer.data.arithmetic import Problem
from gymformer.env import GSM8KEnv
from gymformer.rl.ppo import PPO, PPOConfig
from gymformer.rl.reinforce import Reinforce, ReinforceConfig
from gymformer.testing import byte_tokenizer, tiny_lm

TOKENIZER = byte_tokenizer()
PROBLEM = Problem("1 + 1?", "2", ("It is 1+1 = <<1+1=2>>2.",))
gym.register_envs(gymformer)


def policy(**arguments) -> StepwiseMathPolicy:
    torch.manual_seed(0)
    arguments = {"max_line_tokens": 6, "system_prompt": "Solve."} | arguments
    return StepwiseMathPolicy(tiny_lm(len(TOKENIZER)), tokenizer=TOKENIZER, **arguments)


def observation(*lines: str) -> str:
    env = GSM8KEnv([PROBLEM], 1, train_data_file=[Problem("2 + 2?", "4", ("It is 4.",))])
    text, _ = env.reset(seed=0)
    for line in lines:
        text = env.step(line)[0]
    return text


def test_it_reads_an_observation_as_messages_and_writes_one_line():
    line = policy().get_action(observation("It is easy."))
    (row,) = line.segment.rows
    first = int(line.segment.col[0])
    read = "<|system|>Solve.<|end|><|user|>2 + 2?<|end|><|assistant|>It is 4.\n#### 4<|end|><|user|>1 + 1?<|end|><|assistant|>It is easy.\n"
    assert TOKENIZER.decode(row[: first + 1].tolist(), skip_special_tokens=False) == read
    assert 1 <= len(line.segment) <= 6 and "\n" not in line.text


def test_its_log_probability_is_that_of_the_network():
    """The sum over the tokens, by a pass of the whole row, token by token."""
    own = policy()
    line = own.get_action(observation())
    (row,), segment = line.segment.rows, line.segment
    logits = own.actor.lm(torch.from_numpy(row)[None]).logits[0, :, : len(TOKENIZER)].detach().log_softmax(-1)
    by_hand = sum(float(logits[col, action]) for col, action in zip(segment.col[:-1], segment.actions, strict=True))
    assert line.log_prob == pytest.approx(by_hand, abs=1e-4)
    assert own.log_prob(line).item() == pytest.approx(by_hand, abs=1e-4)
    own.log_prob(line).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in own.actor.parameters())


def test_a_batch_writes_what_each_would_write_alone():
    observations = [observation(), observation("It is easy."), observation("Well.", "So.")]
    together = policy().get_actions(observations, greedy=True)
    alone = [policy().get_action(one, greedy=True) for one in observations]
    assert [line.text for line in together] == [line.text for line in alone] and policy().get_actions([]) == []
    assert [line.log_prob for line in together] == pytest.approx([line.log_prob for line in alone], abs=1e-4)
    assert torch.allclose(policy().log_prob(together).detach(), torch.tensor([line.log_prob for line in alone]), atol=1e-4)


def test_the_same_seed_writes_the_same_lines():
    texts = [[own.get_action(observation()).text for _ in range(3)] for own in (policy(seed=1), policy(seed=1), policy(seed=2))]
    assert texts[0] == texts[1] != texts[2]


def test_what_the_calculator_writes_is_nobodys_decision(monkeypatch):
    own = policy(max_line_tokens=30)
    wanted = iter(
        [*TOKENIZER.encode("1+1=<<1+1=", add_special_tokens=False), *TOKENIZER.encode("2\n", add_special_tokens=False)]
    )

    def sample(outputs, generator, legal):
        return torch.tensor([next(wanted)]), torch.tensor([-1.0])

    monkeypatch.setattr(own.actor.policy, "sample", sample)
    line = own.get_action(observation())
    assert line.text == "1+1=<<1+1=2>>2" and len(line.segment) == len("1+1=<<1+1=") + 2 and line.log_prob == -12.0
    assert len(line.segment.rows[0]) == line.segment.col[0] + 1 + len("1+1=<<1+1=2>>2\n")


def test_a_line_that_fills_the_context_is_no_more():
    begun = observation()
    length = len(policy()._env().reset(options={"observation": begun})[0])
    own = StepwiseMathPolicy(tiny_lm(len(TOKENIZER), context=length + 4), tokenizer=TOKENIZER, system_prompt="Solve.")
    own.actor.policy.sample = lambda outputs, generator, legal: (torch.tensor([ord("a")]), torch.tensor([-1.0]))
    with pytest.warns(UserWarning, match="filled the actor's context"):
        line = own.get_action(begun)
    assert line.text == "" and len(line.segment) == 4 and line.segment.is_whole


def test_a_loop_of_ones_own_learns_what_pays():
    """Two lines of two tokens each; "a" as a first token pays, by the reward on its line. So its probability rises."""
    own, buffer = policy(max_line_tokens=1), LineBuffer()
    algorithm = Reinforce(own.actor, config=ReinforceConfig(lr_actor=3e-2))
    torch.manual_seed(0)
    means = []
    for _ in range(25):
        lines = own.get_actions([observation()] * 32)
        for line in lines:
            buffer.add(line, float(line.text.islower()), terminated=True)
        means.append(np.mean([segment.episode_return for segment in buffer.segments]))
        algorithm.update(buffer.segments)
        buffer.clear()
        assert len(buffer) == 0
    assert means[0] < 0.5 < 0.9 < means[-1]


def test_an_episode_is_one_segment_with_a_row_for_each_line():
    own, buffer = policy(), LineBuffer()
    first, second = own.get_action(observation()), own.get_action(observation("It is easy."))
    buffer.add(first, 0.5, terminated=False)
    assert len(buffer) == 0
    buffer.add(second, 1.0, terminated=False, truncated=True)
    (segment,) = buffer.segments
    n, m = len(first.segment), len(second.segment)
    assert len(segment) == n + m and not segment.terminated and segment.is_whole and segment.episode_return == 1.5
    assert segment.rewards.tolist() == [*[0.0] * (n - 1), 0.5, *[0.0] * (m - 1), 1.0]
    assert segment.row.tolist() == [0] * n + [1] * (m + 1)
    assert segment.col.tolist() == [*first.segment.col[:-1], *second.segment.col]
    PPO(own.actor, own.actor.value_head(), PPOConfig(lr_actor=1e-3)).update(buffer.segments)  # its ratio is one at first


def test_four_bits_need_an_adapter():
    with pytest.raises(ValueError, match="lora=16"):
        policy(load_in_4bit=True)


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_four_bits_need_a_library_that_is_named():
    with pytest.raises(ImportError, match="pip install bitsandbytes"):
        StepwiseMathPolicy("models/reasoner", lora=4, load_in_4bit=True)
