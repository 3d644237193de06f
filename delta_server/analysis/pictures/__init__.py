"""Pictures: functions that draw on an axis, and files of them."""
