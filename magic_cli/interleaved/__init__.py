"""MiniGPT-5: a language model writes text and images in turn. The hidden states of special tokens condition a diffusion model."""
