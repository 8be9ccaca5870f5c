"""The usual loop of one environment: each turn renders and encodes the whole conversation anew, `generate` reads it from the
beginning, and PPO learns from pairs of a conversation and a turn. Written as such agents are, with transformers and torch alone."""

import time

import measure
import torch
from agent_env import MAX_NEW_TOKENS, MODEL, cliff

from gymformer.lm import AutoModelForCausalLMWithValueHead
from gymformer.resources import resource

EPS_CLIP, VALUE_COEF, LEARNING_RATE, PAIRS = 0.2, 0.5, 1e-4, 8


def speed(s: dict) -> dict:
    from transformers import AutoTokenizer

    torch.manual_seed(s["seed"])
    folder = str(resource(MODEL))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLMWithValueHead.from_pretrained(folder)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    env = cliff(s["turns"])
    steps = tokens = 0
    started = 0.0
    for episode in range(s["episodes"] + 1):
        if episode == 1:  # the first one warms up
            steps, tokens, started = 0, 0, time.process_time()
        pairs = play(env, model, tokenizer, seed=s["seed"] * 1000 + episode)
        learn(model, optimizer, pairs, s["epochs"])
        steps, tokens = steps + len(pairs), tokens + sum(len(turn) for _, turn, _ in pairs)
    return {"steps": steps, "tokens": tokens, "seconds": time.process_time() - started}


@torch.no_grad()
def play(env, model, tokenizer, seed: int) -> list[tuple[list[int], list[int], float]]:
    """(conversation, turn, return from there) of one episode."""
    text, _ = env.reset(seed=seed)
    messages = [{"role": "system", "content": env.get_wrapper_attr("system_prompt")}]
    pairs, rewards, over = [], [], False
    while not over:
        messages.append({"role": "user", "content": text})
        query = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        wrote = model.lm.generate(**query, max_new_tokens=MAX_NEW_TOKENS, do_sample=True)
        read = query["input_ids"].shape[1]
        turn = wrote[0, read:].tolist()
        said = tokenizer.decode(turn, skip_special_tokens=True)
        messages.append({"role": "assistant", "content": said})
        text, reward, terminated, truncated, _ = env.step(said)
        pairs.append((query["input_ids"][0].tolist(), turn))
        rewards.append(float(reward))
        over = terminated or truncated
    return [(query, turn, sum(rewards[n:])) for n, (query, turn) in enumerate(pairs)]


def learn(model, optimizer, pairs, epochs: int) -> None:
    parts = [padded(pairs[start : start + PAIRS]) for start in range(0, len(pairs), PAIRS)]
    with torch.no_grad():
        old = [log_probs_and_values(model, ids, counts) for ids, counts, _ in parts]
    for _ in range(epochs):
        for (ids, counts, returns), (old_log_probs, old_values) in zip(parts, old, strict=True):
            log_probs, values = log_probs_and_values(model, ids, counts)
            targets = returns[:, None].expand_as(counts)[counts]
            advantages = targets - old_values
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
            ratio = (log_probs - old_log_probs).exp()
            objective = torch.minimum(ratio * advantages, ratio.clamp(1 - EPS_CLIP, 1 + EPS_CLIP) * advantages).mean()
            optimizer.zero_grad()
            (VALUE_COEF * (values - targets).square().mean() - objective).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()


def padded(pairs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids (R, L), the places before each token of a turn (R, L-1), returns (R,)."""
    length = max(len(query) + len(turn) for query, turn, _ in pairs)
    ids, counts = torch.zeros((len(pairs), length), dtype=torch.int64), torch.zeros((len(pairs), length - 1), dtype=torch.bool)
    for row, (query, turn, _) in enumerate(pairs):
        ids[row, : len(query) + len(turn)] = torch.tensor([*query, *turn])
        counts[row, len(query) - 1 : len(query) + len(turn) - 1] = True
    return ids, counts, torch.tensor([one[2] for one in pairs])


def log_probs_and_values(model, ids: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logits, values = model(ids)
    log_probs = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return log_probs[counts], values[:, :-1][counts]


if __name__ == "__main__":
    measure.one_thread()
    measure.answer(speed(measure.task()[1]))
