"""FOLLOW: an execution that dispatched a workflow ends as the workflow's run does.

    begin     RECORD hands a run over: a row of its own, the execution stays `running`
    reading   what GitHub is asked, and what its answers say                    (no database)
    limits    how often each token may ask                                      (no database)
    judge     what a run that was seen means: wait, ended, given up             (no database)
    rows      the followed runs that are due, and what is written about them
    follower  the thread that puts these together, in the process that leads

All there is to know is in the database, so that a successor goes on where a leader died. A look is a
question and harms nothing; whatever is written proves the lease's term first, and the end of a run goes
through RECORD, which takes one end only. When GitHub does not answer, it is asked again until the
run's deadline. Its webhook (jobs.services.github_webhook) only brings a look forward.
"""
