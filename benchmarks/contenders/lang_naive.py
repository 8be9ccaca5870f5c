"""PPO on tokens as a tutorial of Gymnasium would have it: one environment, and the whole text read anew for every token.

A policy and a critic of its size, no cache, no reference; in the update each decision is a row of its own.
"""

from itertools import chain

import lang_setting
import measure
import torch
from lang_env import EvenTokens
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

GAMMA, LAM, EPS, VALUE_COEF, LR, MAX_NORM = 1.0, 0.95, 0.2, 0.5, 1e-5, 0.5
MINIBATCH = 64  # decisions


class Critic(nn.Module):
    def __init__(self, s: dict):
        super().__init__()
        self.trunk = lang_setting.language_model(s).base_model
        self.head = nn.Linear(self.trunk.config.hidden_size, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L) -> (N, L), V of everything read so far."""
        return self.head(self.trunk(tokens, use_cache=False).last_hidden_state).squeeze(-1)


class Loop:
    def __init__(self, s: dict):
        self.actor, self.critic = lang_setting.language_model(s), Critic(s)
        parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self.parameters, self.optimizer = parameters, torch.optim.Adam(parameters, lr=LR, eps=1e-5)

    @torch.no_grad()
    def episode(self, env: EvenTokens, seed: int) -> tuple[list[Tensor], ...]:
        """States, actions, log-probabilities, advantages and returns of one episode."""
        states, actions, log_probs, values, rewards, over = [], [], [], [], [], False
        observation, _ = env.reset(seed=seed)
        while not over:
            states.append(torch.tensor(observation))
            policy = torch.distributions.Categorical(logits=self.actor(states[-1][None], use_cache=False).logits[0, -1])
            actions.append(policy.sample())
            log_probs.append(policy.log_prob(actions[-1]))
            values.append(self.critic(states[-1][None])[0, -1])
            observation, reward, over, _, _ = env.step(actions[-1].item())
            rewards.append(reward)
        advantages, later, following = [], 0.0, 0.0
        for reward, value in zip(reversed(rewards), reversed(values), strict=True):
            later = reward + GAMMA * following - value + GAMMA * LAM * later
            advantages.append(later)
            following = value
        advantages.reverse()
        return states, actions, log_probs, advantages, [a + v for a, v in zip(advantages, values, strict=True)]

    def update(self, memory: tuple[list[Tensor], ...]) -> None:
        states, *numbers = memory
        actions, old, advantages, returns = map(torch.stack, numbers)
        for part in torch.randperm(len(states)).split(MINIBATCH):
            inputs = pad_sequence([states[i] for i in part], batch_first=True)  # right pads, which no earlier token sees
            rows, last = torch.arange(len(part)), torch.tensor([len(states[i]) - 1 for i in part])
            logits = self.actor(inputs, use_cache=False).logits[rows, last]
            ratio = (torch.distributions.Categorical(logits=logits).log_prob(actions[part]) - old[part]).exp()
            a = (advantages[part] - advantages[part].mean()) / (advantages[part].std() + 1e-8)
            objective = torch.minimum(ratio * a, ratio.clamp(1 - EPS, 1 + EPS) * a).mean()
            value_loss = (self.critic(inputs)[rows, last] - returns[part]).square().mean()
            self.optimizer.zero_grad()
            (VALUE_COEF * value_loss - objective).backward()
            nn.utils.clip_grad_norm_(self.parameters, MAX_NORM)
            self.optimizer.step()


def speed(s: dict) -> dict:
    loop, laps = Loop(s), measure.Laps(s["warm_up"], lang_setting.clock(s))
    env = EvenTokens(s["prompt"], s["tokens"], lang_setting.config(s["shape"]).vocab_size)
    for _ in range(s["warm_up"] + s["iterations"]):
        episodes = [loop.episode(env, seed) for seed in range(s["batch"])]
        memory = tuple(list(chain.from_iterable(parts)) for parts in zip(*episodes, strict=True))
        laps.mark()
        loop.update(memory)
        laps.end(len(memory[0]))
    return laps.report()


if __name__ == "__main__":
    measure.one_thread()
    name, settings = measure.task()
    measure.answer({"speed": speed}[name](settings) | {"peak_bytes": measure.peak_bytes()})
