"""What the dashboard's pages are made with. Pages import from `ragtrial_board.frame`."""
