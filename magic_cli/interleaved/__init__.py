"""MiniGPT-5 (Zheng et al. 2023): a language model that writes texts and, through vokens, draws images."""
