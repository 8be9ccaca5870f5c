"""StepwiseMathPolicy: a language model that writes a solution line by line, for a loop of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gymformer.env.gsm8k_env import SYSTEM_PROMPT
from gymformer.env.lines_to_tokens import MAX_LINE_TOKENS, LinesToTokens
from gymformer.env.solution_env import as_dialogue
from gymformer.env.text_env import Dialogue, TextEnv
from gymformer.rewards.calculator import splice
from gymformer.rl.batch import States, decision_index, legal_actions, per_decision
from gymformer.rl.networks import match_tokens
from gymformer.rl.segment import Segment
from gymformer.rl.token_envs import TokenEnvs
from gymformer.rl.token_rollouts import collect_tokens
from gymformer.rl.transformers_nn import LMActorNetwork

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

__all__ = ["Line", "StepwiseMathPolicy"]


@dataclass(frozen=True, slots=True)
class Line:
    """An action: a line, and what the policy did to write it."""

    text: str  # "" says that nothing more comes, also where the context was full before the line's end
    segment: Segment  # what was read, the tokens that were chosen, and their log-probabilities; not yet paid

    @property
    def log_prob(self) -> float:
        """log π(line | observation): the sum over the tokens that were chosen. What the calculator wrote is certain."""
        return float(self.segment.log_probs.sum())

    def __str__(self) -> str:
        return self.text


class StepwiseMathPolicy:
    """Observations of GSM8K-v0 and MATH-v0 in, lines out.

    The examples in an observation, its question and the lines so far become messages of the tokenizer's chat format after
    `system_prompt`; each token is sampled until one ends the line, with results by the calculator between them. `actor` is the
    network that algorithms train. A loop of one's own:

        policy, env, buffer = StepwiseMathPolicy("models/solver"), gymnasium.make("GSM8K-v0"), LineBuffer()
        algorithm = Reinforce(policy.actor)
        observation, info = env.reset(seed=0)
        over = False
        while not over:
            line = policy.get_action(observation)
            observation, reward, terminated, truncated, info = env.step(line.text)
            buffer.add(line, reward, terminated, truncated)
            over = terminated or truncated
        algorithm.update(buffer.segments)

    `train_agent("GSM8K-v0", actor)` does the same faster: it reads no token twice. (There a token that ends the text ends the
    solution too; here it ends a line, and a solution only where the line is empty.)

    model_name, tokenizer, lora, load_in_4bit, dtype, temperature, gradient_checkpointing: as of `LMActorNetwork`. calculator:
    whether results are written into annotations, True as in the environments. seed: of the sampling.
    """

    def __init__(
        self,
        model_name: "str | Path | nn.Module",
        *,
        tokenizer: "PreTrainedTokenizerBase | None" = None,
        system_prompt: str = SYSTEM_PROMPT,
        calculator: bool = True,
        max_line_tokens: int = MAX_LINE_TOKENS,
        lora: Any = None,
        load_in_4bit: bool = False,
        dtype: Any = "float32",
        temperature: float = 1.0,
        gradient_checkpointing: bool = False,
        seed: int = 0,
    ):
        self.actor = LMActorNetwork(model_name, tokenizer=tokenizer, lora=lora, load_in_4bit=load_in_4bit, dtype=dtype,
                                    temperature=temperature, gradient_checkpointing=gradient_checkpointing)  # fmt: skip
        self.system_prompt, self.calculator, self.max_line_tokens = system_prompt, calculator, max_line_tokens
        self.seed, self._generator = seed, None
        match_tokens(self.actor, self._env().codec.size)

    def get_action(self, observation: str, *, greedy: bool = False) -> Line:
        """The next line of a solution. `greedy` takes the likeliest tokens."""
        return self.get_actions([observation], greedy=greedy)[0]

    def get_actions(self, observations: Sequence[str], *, greedy: bool = False) -> list[Line]:
        """The next line of each of several solutions, which are read and continued together."""
        if not observations:
            return []
        if self._generator is None or self._generator.device != self.actor.device:
            self._generator = torch.Generator(self.actor.device).manual_seed(self.seed)
        envs = TokenEnvs([self._env() for _ in observations], "StepwiseMathPolicy")
        waiting = iter(observations)
        envs.options = lambda: {"observation": next(waiting)}
        envs.reset(0)
        segments = collect_tokens(envs, self.actor, episodes=len(observations), greedy=greedy, generator=self._generator)
        return [Line(segment.info.get("line", ""), segment) for segment in segments]

    def log_prob(self, lines: Line | Sequence[Line]) -> Tensor:
        """log π(line | observation) by the actor as it is now, with gradients: () of one line, (B,) of several."""
        if isinstance(lines, Line):
            return self.log_prob([lines])[0]
        segments = [line.segment for line in lines]
        states = States.of(segments, self.actor.device)[decision_index(segments).to(self.actor.device)]
        actions = per_decision(segments, "actions", self.actor.device)
        legal = legal_actions(segments, self.actor.policy.num_outputs, self.actor.device)
        log_probs, _ = self.actor.policy.log_probs_and_entropy(self.actor.evaluate(states), actions, legal)  # (N,)
        return torch.stack([part.sum() for part in log_probs.split([len(segment) for segment in segments])])

    def _env(self) -> LinesToTokens:
        env = OneLine(self.calculator)
        return LinesToTokens(env, self.actor.tokenizer, max_line_tokens=self.max_line_tokens, system_prompt=self.system_prompt)


class OneLine(TextEnv):
    """Description: a solution that has come so far is continued by one line. Reset options: "observation"."""

    def __init__(self, calculator: bool):
        super().__init__()
        self.calculator, self.line = calculator, ""

    def opening(self, options: dict[str, Any]) -> str:
        self.line = ""
        return options["observation"]

    def answer(self, turn: str) -> tuple[str, float, bool]:
        self.line = turn
        return "", 0.0, True

    def facts(self) -> dict[str, Any]:
        return {"line": self.line}

    def dialogue(self, observation: str) -> Dialogue:
        return as_dialogue(observation)

    def splice(self, line: str) -> str:
        return splice(line) if self.calculator else ""
