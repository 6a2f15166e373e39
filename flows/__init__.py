"""When and in what order: each flow reads as a few lines of the story.

audit      list → plan → detect → publish, and going on with what is unfinished
artifacts  what the Prefect UI shows of a run, an audit's or a backfill's
cli        the `facesweep` command        terminal, budgets  what it shows people     demo  the first run
sampling   what people see of samples     wording, quantities  numbers as people read and type them
"""
