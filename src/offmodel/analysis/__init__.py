"""RECORDS -> NUMBERS: trade-offs, intervals, figures and reports.

What belongs here: functions from per-sample rows and records to scores, tables and pictures. Nothing here loads a model,
so that a report is rebuilt on a machine without torch.
"""
