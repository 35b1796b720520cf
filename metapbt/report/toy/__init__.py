"""What populations did on the toy: trajectories, history, animation."""
