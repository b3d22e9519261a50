"""How each part of ragtrial grows with its load: measured step by step, fitted, drawn; and on paper for what no two cores can hold."""
