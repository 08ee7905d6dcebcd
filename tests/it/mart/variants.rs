//! Columns that the mart reads keep their type; what does not fit goes to a variant, which the mart reads too.

use tidegate::mart::{Settings, Views};

use crate::load::plant::{Plant, whole};

#[tokio::test]
async fn p5_values_of_a_column_and_of_its_variants_are_one_field() {
    let plant = Plant::new().await;
    let (views, settings) = (Views::default(), Settings::default());
    let answers = async |plant: &Plant| -> Vec<(Option<String>, Option<f64>)> {
        views.refresh(&plant.pool, &settings).await;
        let sql = "select answer, score_0_1 from mart.survey_responses order by length(answer), answer";
        sqlx::query_as(sql).fetch_all(&plant.pool).await.unwrap()
    };
    plant.read(whole(0), &[vec![r#"{"value":9,"classification":"NPS"}"#.to_owned()]]).await;
    let row = |text: &str, score| (Some(text.to_owned()), score);
    assert_eq!(answers(&plant).await, [row("9", Some(0.9))]);
    assert_eq!(plant.column("value").await.as_deref(), Some("bigint"));

    plant.read(whole(1), &[vec![r#"{"value":7.5,"classification":"NPS"}"#.to_owned()]]).await;
    assert_eq!(plant.column("value").await.as_deref(), Some("bigint"), "a view uses it");
    assert_eq!(plant.column("value_numeric").await.as_deref(), Some("numeric"));
    assert_eq!(answers(&plant).await, [row("9", Some(0.9)), row("7.5", Some(0.75))]);

    plant.read(whole(2), &[vec![r#"{"value":"YES","classification":"LIKE"}"#.to_owned()]]).await;
    assert_eq!(plant.column("value_text").await.as_deref(), Some("text"));
    assert_eq!(answers(&plant).await, [row("9", Some(0.9)), row("7.5", Some(0.75)), row("YES", Some(1.0))]);
}
