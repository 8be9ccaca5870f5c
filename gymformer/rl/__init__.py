"""The algorithms: segments, states, policies, rollouts and PPO. Knows Gymnasium's spaces, and no environment of ours."""
