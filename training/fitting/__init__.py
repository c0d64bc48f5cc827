"""Training: batches, recipes, losses, the loop with its checkpoints, comparison of networks, export of a bundle."""
