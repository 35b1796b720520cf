"""A population's hyperparameters by ask and tell."""
