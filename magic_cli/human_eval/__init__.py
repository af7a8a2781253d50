"""Human evaluation of stories as in the paper: blinded forms that work offline, and scores from the returned answers."""
