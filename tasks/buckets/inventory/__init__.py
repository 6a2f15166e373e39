"""Inventories: what a bucket holds, as its store or its owner has written it down, instead of a listing.

inventory   the rows of an inventory as a listing's     manifest   S3's and OSS's manifest.json
places      where its files lie                         checks     wrong, cut and poisoned files
entries     the rows in a file, and their lines         fields     which column says what
rows        a listing's columns, in SQL                 lookup     what a list leaves for the store to say
"""

from tasks.buckets.inventory.inventory import Inventory, InventoryTotals, first_object, open_inventory

__all__ = ["Inventory", "InventoryTotals", "first_object", "open_inventory"]
