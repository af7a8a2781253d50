"""Human evaluation of stories as in the paper: blinded forms that work offline, and what the returned answers say."""
