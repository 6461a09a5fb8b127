"""All methods on the same questions: what each answers, and what an answer costs."""
