"""transformers' `generate` by itself: rollouts that nothing is learned from."""

import lang_setting
import measure
import torch


def speed(s: dict) -> dict:
    lm, prompts = lang_setting.language_model(s).eval(), lang_setting.prompts(s)
    laps = measure.Laps(s["warm_up"], lang_setting.clock(s))
    for _ in range(s["warm_up"] + s["iterations"]):
        mask = torch.ones_like(prompts)
        tokens = lm.generate(prompts, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=s["tokens"], pad_token_id=0)
        assert tokens.shape[1] == s["prompt"] + s["tokens"]
        laps.mark()
        laps.end(s["batch"] * s["tokens"])
    return laps.report() | {"flops": s["iterations"] * lang_setting.iteration_flops(lm, s, passes=1)}


if __name__ == "__main__":
    measure.one_thread()
    name, settings = measure.task()
    measure.answer({"speed": speed}[name](settings) | {"peak_bytes": measure.peak_bytes()})
