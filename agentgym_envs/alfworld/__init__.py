"""ALFWorld: household tasks in text, played by a compiled engine or by the official stack."""
