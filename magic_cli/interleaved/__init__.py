"""MiniGPT-5: a language model that writes text and images in turn, by tokens whose hidden states condition a diffusion model."""
