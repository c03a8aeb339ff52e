-- Liquidation events of margin accounts, from all datasets of the lake, in DuckDB's SQL.
--
-- Reads a relation for each dataset, under its name: the fields under the exchange's names, and `account` and `scope` of
-- the object that holds the row. Times are ms since 1970 in UTC. A record that lies in several objects counts once, at
-- its earliest time.
--
--   certain    orders of force_liquidation, or repayments of a liquidation loan
--   takeover   LIQUIDATION_FEE or OTHER_LIQUIDATION in the ledger, without any of these
--   candidate  other *_LIQUIDATION or SMALL_CONVERT entries alone, but for those within 15 minutes of a MANUAL repayment:
--              a voluntary repayment, which the ledger books under the same names
--
-- Orders, fees and OTHER_LIQUIDATION of one scope are one event as long as no gap exceeds 15 minutes; it takes in other
-- entries up to 15 minutes away. Repayments of a liquidation loan belong to the latest event of the cross account as
-- long as no gap from it exceeds a day, else they are an event of their own.
--
-- An event's activity is what was borrowed, repaid, transferred and charged as interest from a day before its first
-- record to its last. It decides nothing, but for a MANUAL repayment.

-- the pair that a row names, else the scope of its object, without filters
CREATE OR REPLACE TEMP MACRO owner_of(pair, scope) AS coalesce(nullif(pair, ''), regexp_replace(scope, '[.][a-z].*', ''));
-- eight places, or more if there are
CREATE OR REPLACE TEMP MACRO exact_sum(amount) AS
    regexp_replace(CAST(sum(CAST(amount AS DECIMAL(38, 18))) AS VARCHAR), '0{1,10}$', '');

CREATE OR REPLACE TEMP VIEW account_activity AS
SELECT *
FROM (
    SELECT account, owner_of("isolatedSymbol", scope) AS scope, 'interest' AS dataset, "txId" AS id,
           "interestAccuredTime" AS moment, type, asset, interest AS amount, 'CONFIRMED' AS status
    FROM interest
    UNION ALL
    SELECT account, owner_of("isolatedSymbol", scope), 'borrow', "txId", "timestamp", type, asset, amount, status
    FROM borrow
    UNION ALL
    SELECT account, owner_of("isolatedSymbol", scope), 'repay', "txId", "timestamp", type, asset, amount, status
    FROM repay
    UNION ALL  -- in ms or in seconds
    SELECT account, owner_of(NULL, scope), 'transfer', "txId", "timestamp" * CASE WHEN "timestamp" < 1e11 THEN 1000 ELSE 1 END,
           type, asset, amount, status
    FROM transfer)
WHERE status IS DISTINCT FROM 'FAILED'
QUALIFY row_number() OVER (PARTITION BY account, dataset, id ORDER BY scope = 'cross', moment) = 1;

-- all that can be evidence, one row per record
CREATE OR REPLACE TEMP VIEW liquidation_entries AS
SELECT account, CASE WHEN "isIsolated" THEN symbol ELSE 'cross' END AS scope, min("updatedTime") AS moment,
       'force_liquidation' AS dataset, "orderId" AS id, symbol, min(side) AS type, NULL AS asset,
       CAST(NULL AS DECIMAL(38, 18)) AS amount
FROM force_liquidation
GROUP BY account, symbol, "orderId", "isIsolated"
UNION ALL
SELECT account, 'cross', min("createTime"), 'liquidation_loan_repayment', "repayId", NULL, max(status), min(asset),
       min(CAST(amount AS DECIMAL(38, 18)))
FROM liquidation_loan_repayment
GROUP BY account, "repayId"
UNION ALL
SELECT account, owner, "timestamp", 'capital_flow', id, symbol, type, asset, CAST(amount AS DECIMAL(38, 18))
FROM (SELECT *, owner_of(symbol, scope) AS owner FROM capital_flow)
WHERE type IN ('LIQUIDATION_FEE', 'SMALL_CONVERT') OR suffix(type, '_LIQUIDATION')
QUALIFY row_number() OVER (PARTITION BY account, id ORDER BY owner = 'cross', "timestamp") = 1;

WITH strong AS (
    SELECT *, sum(starts) OVER (PARTITION BY account, scope ORDER BY moment, dataset, id) AS number
    FROM (SELECT *, CAST((moment - lag(moment) OVER (PARTITION BY account, scope ORDER BY moment, dataset, id) <= 900000)
                         IS NOT TRUE AS INTEGER) AS starts
          FROM liquidation_entries
          WHERE dataset = 'force_liquidation' OR type IN ('LIQUIDATION_FEE', 'OTHER_LIQUIDATION'))
), liquidations AS (
    SELECT account, scope, number, min(moment) AS first_moment, max(moment) AS last_moment FROM strong GROUP BY ALL
), repayments AS (  -- chain 0 is of the liquidation `number`, the others are of none that is known
    SELECT *, sum(starts) OVER (PARTITION BY account, number ORDER BY moment, id) AS chain
    FROM (SELECT entry.*, event.number, CAST((entry.moment - coalesce(
                     lag(entry.moment) OVER (PARTITION BY entry.account, event.number ORDER BY entry.moment, entry.id),
                     event.last_moment) <= 86400000) IS NOT TRUE AS INTEGER) AS starts
          FROM (FROM liquidation_entries WHERE dataset = 'liquidation_loan_repayment') AS entry
          ASOF LEFT JOIN liquidations AS event
              ON event.account = entry.account AND event.scope = entry.scope AND entry.moment >= event.first_moment)
), weak AS (  -- with the nearest event, or without one
    SELECT entry.*, event.number
    FROM liquidation_entries AS entry LEFT JOIN liquidations AS event
        ON event.account = entry.account AND event.scope = entry.scope
        AND entry.moment BETWEEN event.first_moment - 900000 AND event.last_moment + 900000
    WHERE dataset = 'capital_flow' AND type NOT IN ('LIQUIDATION_FEE', 'OTHER_LIQUIDATION')
    QUALIFY row_number() OVER (PARTITION BY entry.account, entry.id ORDER BY
        greatest(event.first_moment - entry.moment, entry.moment - event.last_moment, 0), event.number) = 1
), by_hand AS (
    FROM account_activity WHERE dataset = 'repay' AND type = 'MANUAL'
), alone AS (
    SELECT *, sum(starts) OVER (PARTITION BY account, scope ORDER BY moment, id) AS burst
    FROM (SELECT *, CAST((moment - lag(moment) OVER (PARTITION BY account, scope ORDER BY moment, id) <= 900000)
                         IS NOT TRUE AS INTEGER) AS starts
          FROM weak
          WHERE number IS NULL AND NOT EXISTS (
              FROM by_hand WHERE by_hand.account = weak.account AND by_hand.scope = weak.scope
                  AND by_hand.moment BETWEEN weak.moment - 900000 AND weak.moment + 900000))
), placed AS (
    SELECT 'liquidation ' || number AS event, account, scope, moment, dataset, id, symbol, type, asset, amount FROM strong
    UNION ALL
    SELECT CASE WHEN chain = 0 THEN 'liquidation ' || number ELSE concat_ws(' ', 'loan', number, chain) END,
           account, scope, moment, dataset, id, symbol, type, asset, amount
    FROM repayments
    UNION ALL
    SELECT 'liquidation ' || number, account, scope, moment, dataset, id, symbol, type, asset, amount
    FROM weak WHERE number IS NOT NULL
    UNION ALL
    SELECT 'burst ' || burst, account, scope, moment, dataset, id, symbol, type, asset, amount FROM alone
), sums AS (
    SELECT account, scope, event, type = 'LIQUIDATION_FEE' AS is_fee, asset, exact_sum(amount) AS amount
    FROM placed WHERE dataset = 'capital_flow'
    GROUP BY ALL
), totals AS (
    SELECT account, scope, event,
           coalesce(list({'asset': asset, 'amount': amount} ORDER BY asset) FILTER (WHERE NOT is_fee), []) AS amounts,
           coalesce(list({'asset': asset, 'amount': amount} ORDER BY asset) FILTER (WHERE is_fee), []) AS fees
    FROM sums
    GROUP BY ALL
), events AS (
    SELECT account, scope, event,
           CASE WHEN bool_or(dataset <> 'capital_flow') THEN 'certain'
                WHEN bool_or(type IN ('LIQUIDATION_FEE', 'OTHER_LIQUIDATION')) THEN 'takeover'
                ELSE 'candidate' END AS level,
           min(moment) AS first_time, max(moment) AS last_time,
           list({'dataset': dataset, 'id': id, 'symbol': symbol, 'type': type, 'time': moment}
                ORDER BY moment, dataset, id, symbol) AS evidence
    FROM placed
    GROUP BY ALL
), activities AS (
    SELECT account, scope, event, dataset, type, asset, count(*) AS records, exact_sum(amount) AS amount
    FROM events JOIN account_activity USING (account, scope)
    WHERE moment BETWEEN first_time - 86400000 AND last_time
    GROUP BY ALL
), activity AS (
    SELECT account, scope, event,
           list({'dataset': dataset, 'type': type, 'asset': asset, 'records': records, 'amount': amount}
                ORDER BY dataset, type, asset) AS activity
    FROM activities
    GROUP BY ALL
)
SELECT account, scope, level, first_time, last_time, evidence, coalesce(amounts, []) AS amounts,
       coalesce(fees, []) AS fees, coalesce(activity, []) AS activity
FROM events LEFT JOIN totals USING (account, scope, event) LEFT JOIN activity USING (account, scope, event)
ORDER BY first_time, account, scope, level;
