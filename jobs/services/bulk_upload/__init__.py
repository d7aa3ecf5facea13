"""Many jobs at once, from a file and back into one.

    table    bytes → rows, whatever a spreadsheet made of them
    columns  cells ↔ fields: which header means what, and how a value is written
    sheet    table and columns together: a CSV file as entries
    engine   entries → validated, compared, stored in batches → outcomes
    report   outcomes → the counts and lists of an answer
    export   jobs → CSV

The engine knows nothing of CSV: whatever yields an `Entry` per job uses it. It stores nothing by
itself: a dry run is the same way without the last step.
"""
