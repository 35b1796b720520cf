"""Models of how hyperparameters change the return, on GPyTorch and BoTorch."""
