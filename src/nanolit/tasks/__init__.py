"""One file per task: conversations for training, scores for evaluation, rewards for reinforcement learning."""
