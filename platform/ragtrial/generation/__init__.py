"""Passages to answers. The only generator shipped needs no LLM: it quotes a sentence, and is called "extractive" wherever it shows."""
