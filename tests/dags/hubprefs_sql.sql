-- The subscribers of {{ params.team }} who have opted out.
SELECT email FROM consent WHERE n >= :least AND email <> :but ORDER BY email
