"""What pages are made with, in one place to import from."""

from ragtrial_board.access import Visitor, require, visitor
from ragtrial_board.choosing import chosen_evaluation, chosen_live
from ragtrial_board.drawing import chart
from ragtrial_board.linking import address, link
from ragtrial_board.saying import badge, empty, facts, heading, plain, section
from ragtrial_board.stores import Stores, stores
from ragtrial_board.tables import table

__all__ = [
    "Stores",
    "Visitor",
    "address",
    "badge",
    "chart",
    "chosen_evaluation",
    "chosen_live",
    "empty",
    "facts",
    "heading",
    "link",
    "plain",
    "require",
    "section",
    "stores",
    "table",
    "visitor",
]
